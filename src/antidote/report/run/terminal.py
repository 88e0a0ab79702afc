"""What a run and a sweep print at their end."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table

from antidote.engine.labels import tracer
from antidote.metrics.table import Metric, shown, table
from antidote.report.terminal import Widest, percent, plain, rendered, tell
from antidote.report.words import missing, printable, short
from antidote.sweeps.axes import axes, parted

Record = Mapping[str, Any]
FEWEST = 4  # figures of a job that are told however narrow a terminal is


def show_result(record: Record, log: Path | None = None, own: Sequence[str] = ()) -> None:
    """The table of a run, and where everything is; on standard output and at the end of its log.

    `own`: what a job of a sweep has that not all of them have.
    """
    head = [] if record["sweep"] is None else [f"job {record['job']}: {' '.join(own)}"]
    said = [f"verdict     {line}" for line in verdict(record)]
    told: list[RenderableType] = [*head, result_table(record), *said, *places(record)]
    tell(*told)
    if log is not None and log.exists():
        with suppress(OSError), log.open("a", encoding="utf-8") as file:
            file.write(rendered(told, file=True))


def result_table(record: Record) -> Table:
    """Before and after, what healed, what the search took, seconds."""
    counts = f"{record['n_poisoned']} poisoned, {record['n_known']} known{traced(record)}"
    head = f"{record['dataset']}, {record['poison']}: {counts}"
    whole = None if tracer(record) is None else len(head)  # a title is folded at a table's width
    title = plain(f"{head}\n{record['unlearning']}")
    made = Table(title=title, title_justify="left", min_width=whole)
    for column in ("", "before", "after"):
        made.add_column(column, justify="left" if not column else "right", no_wrap=True)
    metrics = [m for m in in_order(shown("run")) if told(record, m.name) is not None]
    section = ""
    for metric in metrics:
        made.add_section() if kind(metric) != section and section else None
        section = kind(metric)
        before = record.get(f"{metric.name}_before")
        made.add_row(
            metric.label + remark(record, metric.name),
            figure(before, metric) if before is not None else "",
            figure(told(record, metric.name), metric),
        )
    return made


def traced(record: Record) -> str:
    """What a tracer added to the known."""
    option, rows = tracer(record), record.get("tracing/rows")
    if option is None:
        return ""
    return f", {rows} traced by {option}" if rows else f", {option} traced nothing"


def in_order(metrics: Sequence[Metric]) -> list[Metric]:
    """What is measured before and after comes first, seconds last."""
    return sorted(metrics, key=lambda m: ("states", "results", "seconds").index(kind(m)))


def kind(metric: Metric) -> str:
    if f"{metric.name}_before" in table():
        return "states"
    return "seconds" if metric.unit == "seconds" else "results"


def told(record: Record, name: str) -> Any:
    """A figure by its flat name: seconds_fit is record["seconds"]["fit"]. "-" if it has no meaning.

    None if the record does not have it at all, or nothing traced and it is of tracing.
    """
    if tracer(record) is None and (name.startswith("tracing/") or name == "seconds_trace"):
        return None
    if name in record:
        return "-" if record[name] is None else record[name]
    group, _, inner = name.partition("_")
    nested = record.get(group)
    if not isinstance(nested, Mapping) or inner not in nested:
        return None
    return "-" if nested[inner] is None else nested[inner]


def figure(value: Any, metric: Metric) -> str:
    if isinstance(value, str) or missing(value):
        return "-"
    if metric.unit in ("share", "points"):
        return percent(value)
    return f"{value:.1f}" if metric.unit == "seconds" else f"{value:.4g}"


def remark(record: Record, name: str) -> str:
    if name == "search_tries" and not record["search"].get("met", True):
        return " (target not met)"
    if name == "worst_class_accuracy":
        return f" ({printable(record['worst_class'])})"
    spared = name.removeprefix("seconds_") in record.get("cached", ())
    return " (from cache)" if spared else ""


def verdict(record: Record) -> list[str]:
    """One line; none of a net that is as it was, nor of a record from before there was one."""
    told = record.get("judgement")
    return [f"{told['word']}: {told['why']}"] if told else []


def places(record: Record) -> list[str]:
    lines = [f"run folder  {record['folder']}"]
    where = record.get("mlflow")
    if where:
        lines.append(f"MLflow      {address(where)}")
    return lines


def address(where: Mapping[str, str]) -> str:
    """Of the run in a browser; of a database with the command that serves it, wherever it lies."""
    if where["uri"].startswith(("http://", "https://")):
        return f"{where['uri'].rstrip('/')}/{where['address']}"
    serve = shlex.join(["python", "-m", "mlflow", "ui", "--backend-store-uri", where["uri"]])
    return f"`{serve}`, then http://127.0.0.1:5000/{where['address']}"


def show_sweep(rows: Sequence[Record], folder: str | Path) -> None:
    """One line per job with the overrides that differ between jobs, then what failed and why."""
    wrong = [row for row in rows if row["status"] != "ok" and row.get("error")]
    lines = [f"job {row['job']} {row['status']}: {row['error']}" for row in wrong]
    count = Counter({"ok": 0, "failed": 0}) + Counter(row["status"] for row in rows)
    states = dict.fromkeys(("ok", "failed", *count))
    counts = ", ".join(f"{count[state]} {state}" for state in states)
    had = {m.name for m in shown("sweep") for row in rows if is_number(told(row, m.name))}
    metrics = in_order(shown("sweep", had))
    fewer = range(len(metrics), min(len(metrics), FEWEST) - 1, -1)
    tables = [sweep_table(rows, metrics[:n], metrics[n:]) for n in fewer]
    tell(Widest(tables), *lines, f"{counts}; folders in {folder}")


def sweep_table(rows: Sequence[Record], metrics: Sequence[Metric], left: Sequence[Metric]) -> Table:
    """With a column for each of `metrics`, and none for those that are `left` out."""
    settings = [dict(map(parted, row["overrides"])) for row in rows]
    keys = sorted(axes([row["overrides"] for row in rows]))
    made = Table(
        title="Jobs; figures in %", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    if left:
        names = ", ".join(metric.brief for metric in left)
        made.caption, made.caption_justify = f"no room for {names}: see the report", "left"
    for column in ("job", *keys, "status"):
        made.add_column(plain(column), overflow="fold")
    for metric in metrics:
        made.add_column(metric.brief, justify="right", no_wrap=True)
    for row, setting in zip(rows, settings, strict=True):
        varied = (plain(short(setting.get(key, ""))) for key in keys)
        status = row["status"] + (" (before)" if row.get("done_before") else "")
        figures = (percent_of(told(row, metric.name)) for metric in metrics)
        made.add_row(plain(row["job"]), *varied, plain(status), *figures)
    return made


def percent_of(value: Any) -> str:
    """As in a column that is in percent."""
    return f"{100 * value:.1f}" if is_number(value) else "-"


def is_number(value: Any) -> bool:
    return not (value is None or isinstance(value, str) or missing(value))
