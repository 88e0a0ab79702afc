"""The records of cells as one table: what report, plan, status and resume read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from antidote.engine import labels
from antidote.engine.cell import GROUPS
from antidote.engine.records import Record, Records

EVIDENCE = "distance", "sure", "chance"  # of a tracer's, those with columns


def results(output: str | Path) -> pd.DataFrame:
    """One row per record, oldest first, failed cells included; empty if there is none."""
    rows = [row(record) for record in Records(output)]
    rows.sort(key=lambda r: (r["ended"], r["id"]))
    return pd.DataFrame(rows)


def row(record: Record) -> dict[str, Any]:
    """A record in columns: numbers and names, nested ones as seconds_fit, search_tries.

    `rate`, `share`, `width` (NaN where there is none) and `discovered` are the values that acted,
    `method` the option of the method. What tracing gave and took is NaN where nothing traced.
    `params`: all settings, flat, as text.
    """
    settings = record["settings"]
    search = record.get("search") or {}
    seconds = dict(record.get("seconds") or {})
    evidence = record.get("tracing/evidence") or {}
    numbers = {k: v for k, v in record.items() if isinstance(v, int | float) or v is None}
    if labels.tracer(record) is None:
        numbers |= {name: math.nan for name in numbers if name.startswith("tracing/")}
        seconds |= {"trace": math.nan}
    return {
        **numbers,
        **{group: record.get(group, "none") for group in GROUPS},  # tracing came later
        **{f"seconds_{name}": number(value) for name, value in seconds.items()},
        **{f"tracing/{name}": number(evidence.get(name)) for name in EVIDENCE},
        **{f"search_{name}": number(value) for name, value in search.items()},
        "method": record["unlearning"],
        "chosen": chosen(record.get("chosen")),
        "unmet": record.get("unmet", ""),
        "rate": number(labels.rate(settings)),
        "share": number(settings["discovery"].get("share")),
        "discovered": labels.discovery(settings, record["discovery"]),
        "width": number(settings["model"].get("net", {}).get("width")),
        "params": {name: str(value) for name, value in labels.flat(settings).items()},
        "run_id": (record["mlflow"] or {}).get("run_id", ""),
        **{
            name: record.get(name)
            for name in (
                "id",
                "config_hash",
                "status",
                "error",
                "began",
                "ended",
                "command",
                "commit",
                "folder",
                "sweep",
            )
        },
    }


UNMET_FLOOR = "(floor not met)"


def chosen(told: Any) -> str:
    """Settings that trials chose: "optimizer.lr=0.1, beta=0.9", and whether none met the floor."""
    found = told or {}
    values = ", ".join(f"{name}={value}" for name, value in found.get("values", {}).items())
    return values if found.get("floor_met", True) else f"{values} {UNMET_FLOOR}"


def number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
