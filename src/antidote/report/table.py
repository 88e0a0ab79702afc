"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

SHOWN = {
    "clean_accuracy": "clean accuracy",
    "harmed_accuracy": "attacked accuracy",
    "attack_success": "attack success",
}


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def result_table(result: dict[str, Any]) -> Table:
    """Before and after of one run, with what it cost."""
    counts = f"{result['n_poisoned']} poisoned, {result['n_known']} known"
    table = Table(
        title=f"{result['dataset']}, {result['poison']}: {counts}\n{result['unlearning']}",
        title_justify="left",
    )
    for column in ("", "before", "after"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for key, name in SHOWN.items():
        if key in result:
            table.add_row(name, percent(result[f"{key}_before"]), percent(result[key]))
    table.add_section()
    table.add_row("poison healed", "", percent(result["healed"]))
    table.add_row("clean accuracy lost", "", percent(result["accuracy_drop"]))
    if result["search"]:
        met = "" if result["search"]["met"] else " (target not met)"
        table.add_row("PTN tries", "", f"{result['search']['tries']}{met}")
    table.add_section()
    for stage, seconds in result["seconds"].items():
        again = " (from cache)" if stage in result["cached"] else ""
        table.add_row(f"seconds: {stage}{again}", "", "-" if seconds is None else f"{seconds:.1f}")
    return table


def show_result(result: dict[str, Any], folder: Path, uri: str | None, address: str | None) -> None:
    """The table of a run, and where everything is."""
    console = Console()
    console.print(result_table(result))
    lines = [f"run folder  {folder}"]
    if address:
        lines += [
            f"MLflow      {uri}",
            f"            `make ui`, then http://127.0.0.1:5000/{address}",
        ]
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


def show_sweep(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """One line per job with the overrides that differ between jobs, then what failed and why."""
    settings = [dict(o.split("=", 1) for o in row["overrides"]) for row in rows]
    keys = sorted({k for s in settings for k in s if len({t.get(k) for t in settings}) > 1})
    table = Table(
        title="Jobs; figures in %", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for column in ("job", *keys, "status"):
        table.add_column(column, overflow="fold")
    for column in ("clean", "attack", "healed", "lost"):
        table.add_column(column, justify="right", no_wrap=True)
    for row, setting in zip(rows, settings, strict=True):
        figures = [
            row.get(name)
            for name in ("clean_accuracy", "attack_success", "healed", "accuracy_drop")
        ]
        varied = (setting.get(k, "") for k in keys)
        shown = ("-" if f is None else f"{100 * f:.1f}" for f in figures)
        status = row["status"] + (" (before)" if row.get("done_before") else "")
        table.add_row(row["job"], *varied, status, *shown)
    console = Console()
    console.print(table)
    failed = [row for row in rows if row["status"] != "ok"]
    lines = [f"job {row['job']} {row['status']}: {row['error']}" for row in failed]
    lines.append(f"{len(rows) - len(failed)} ok, {len(failed)} failed; folders in {folder}")
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
