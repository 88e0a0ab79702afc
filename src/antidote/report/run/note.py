"""What MLflow shows first of a run and of a sweep, in Markdown: its notes."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from antidote.metrics.table import shown, table
from antidote.report.run.terminal import (
    figure,
    in_order,
    is_number,
    percent_of,
    remark,
    told,
    traced,
    verdict,
)
from antidote.report.words import printable, short
from antidote.sweeps.axes import axes, parted

Record = Mapping[str, Any]
FIRST = ("healed", "accuracy_drop", "attack_success", "seconds_unlearn")
MOST = 7800  # characters; MLflow keeps 8000
WIDE = 90  # letters of a line
VIEW = "/runs?viewStateShareKey=antidote&workflowType=machine_learning"
GAP = "&ensp;"  # its tables have no space between columns


def note(record: Record) -> str:
    """The table of a run and the command that does it again; of one that has begun the command."""
    typed = fenced(record["command"])
    if record.get("status") == "failed":
        return f"**Failed:** {plain(record['error'])}\n\n{typed}"[:MOST]
    if record.get("status") != "ok":
        return typed
    head = f"{record['n_poisoned']} poisoned, {record['n_known']} known{traced(record)}"
    said = [f"**Verdict:** {plain(line)}" for line in verdict(record)]
    return "\n\n".join([f"{summary(record)}; {head}", *said, results(record), typed])[:MOST]


def summary(record: Record) -> str:
    """The headline in one line."""
    metrics = [table()[name] for name in FIRST]
    found = [(m, told(record, m.name)) for m in metrics if told(record, m.name) is not None]
    return ", ".join(f"{m.label} **{figure(value, m)}**" for m, value in found)


def results(record: Record) -> str:
    rows = []
    for metric in in_order(shown("run")):
        after, before = told(record, metric.name), record.get(f"{metric.name}_before")
        if after is not None:
            first = "" if before is None else figure(before, metric)
            label = metric.label + remark(record, metric.name)
            rows.append([label, first, figure(after, metric)])
    return grid(["", "before", "after"], rows, ["", "---:", "---:"])


def begun_note(jobs: int, done: int, command: str) -> str:
    """Of a sweep that is at work."""
    return f"{jobs} jobs, {done} of them done before\n\n{fenced(command)}"


def sweep_note(rows: Sequence[Record], command: str, where: Mapping[str, str] | None) -> str:
    """The table of a sweep's jobs, each with its run in MLflow, those done before included.

    As many jobs as MLflow has room for; the report has all of them.
    """
    keys = list(axes([row["overrides"] for row in rows]))
    had = {m.name for m in shown("sweep") for row in rows if is_number(told(row, m.name))}
    metrics = in_order(shown("sweep", had))
    head = ["job", *map(plain, keys), "status", *(metric.brief for metric in metrics)]
    made, typed = [], fenced(command)
    for row in rows:
        settings = dict(map(parted, row["overrides"]))
        varied = [plain(short(settings.get(key, ""))) for key in keys]
        figures = [percent_of(told(row, metric.name)) for metric in metrics]
        made.append([job(row), *varied, status(row), *figures])
    sides = [""] * (len(keys) + 2) + ["---:"] * len(metrics)
    count = Counter(row["status"] for row in rows)
    first = ", ".join(f"{n} {state}" for state, n in count.items()) + "; figures in %"
    if where:
        first += f" ([all runs]({where['address'].partition('/runs/')[0]}{VIEW}))"
    for n in range(len(made), -1, -1):
        left = [f"and {len(made) - n} more, in report/cells.csv"] * (n < len(made))
        whole = "\n\n".join([first, grid(head, made[:n], sides), *left, typed])
        if len(whole) <= MOST:
            return whole
    return first


def job(row: Record) -> str:
    """Its number, leading to its run."""
    where, number = row.get("mlflow"), row["job"] or "–"
    return f"[{number}]({where['address']})" if where else number


def status(row: Record) -> str:
    return row["status"] + (" (before)" if row.get("done_before") else "")


def grid(head: Sequence[str], rows: Iterable[Sequence[str]], sides: Sequence[str]) -> str:
    """A table in Markdown; `sides` are "---:" for columns that stand on the right."""
    lines = [[cells[0], *(GAP + cell for cell in cells[1:])] for cells in (head, *rows)]
    lines.insert(1, [side or "---" for side in sides])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def fenced(command: str) -> str:
    """To be copied; folded, since MLflow's page grows as wide as a line is."""
    lines, words = [""], [shlex.quote(word) for word in shlex.split(printable(command))]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) > WIDE:
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    folded = " \\\n".join(lines)
    return f"```\n{short(folded, 2000)}\n```"


def plain(text: object) -> str:
    """Text of others as it is: nothing in it is Markdown, nor HTML."""
    said = " ".join(printable(text).split())
    for sign in "\\`*[]|#":
        said = said.replace(sign, f"\\{sign}")
    return said.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
