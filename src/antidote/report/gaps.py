"""Cells that have no result, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from antidote.report.store import finished, unfinished
from antidote.report.words import look, rate, word


def missing(runs: pd.DataFrame, cells: Mapping[str, str] | None) -> list[dict[str, str]]:
    """Cells without a result: failed, begun but not ended, or (of a known grid) not begun."""
    states = {"FAILED": "failed", "RUNNING": "running or killed"}
    found = {
        run["config_hash"]: {
            "state": states.get(run["status"], run["status"].lower()),
            "cell": in_words(run),
            "error": run["error"],
            "command": run["command"],
        }
        for _, run in unfinished(runs).iterrows()
    }
    if cells is None:
        return list(found.values())
    done = set(finished(runs)["config_hash"])
    nothing = {"state": "not begun", "cell": "", "error": ""}
    return [
        found.get(key, nothing) | {"command": command}
        for key, command in cells.items()
        if key not in done
    ]


def in_words(run: Mapping[str, Any]) -> str:
    place = [word(run[name]) for name in ("poison", "dataset", "model")]
    how = [f"{rate(run['rate'])} poisoned", f"{word(run['discovery'])} discovered"]
    return ", ".join([*place, *how, look(run["method"])["label"], f"seed {run['seed']}"])
