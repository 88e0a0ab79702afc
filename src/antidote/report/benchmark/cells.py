"""Which records stand for a cell, and which cells have no result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from antidote.metrics.table import table
from antidote.report.words import defence, look, rate, word


def finished(records: pd.DataFrame) -> pd.DataFrame:
    """The newest result of each cell; all metrics as numbers, NaN where one has no meaning.

    `tracing` is "none" in records that know of none.
    """
    if records.empty:
        return records
    done = newest(records[records["status"] == "ok"])
    nothing = pd.Series(float("nan"), index=done.index)
    numbers = {name: pd.to_numeric(done.get(name, nothing)).astype(float) for name in table()}
    return done.assign(tracing=done.get("tracing", "none"), **numbers)


def failed(records: pd.DataFrame) -> pd.DataFrame:
    """The newest failure of each cell that has no result."""
    if records.empty:
        return records
    done = set(records.loc[records["status"] == "ok", "config_hash"])
    return newest(records[~records["config_hash"].isin(done)])


def newest(records: pd.DataFrame) -> pd.DataFrame:
    """Versions of the code, or of the data, may each have left a record of one cell."""
    return records.drop_duplicates("config_hash", keep="last").reset_index(drop=True)


def gaps(records: pd.DataFrame, wanted: Mapping[str, str] | None) -> list[dict[str, str]]:
    """Cells without a result: failed, or (of a grid) missing, which a killed run's cell is too."""
    found = {
        record["config_hash"]: {
            "state": "failed",
            "cell": in_words(record),
            "error": record["error"],
            "command": record["command"],
        }
        for _, record in failed(records).iterrows()
    }
    if wanted is None:
        return list(found.values())
    done = set() if records.empty else set(finished(records)["config_hash"])
    nothing = {"state": "missing", "cell": "", "error": ""}
    return [
        found.get(key, nothing) | {"command": command}
        for key, command in wanted.items()
        if key not in done
    ]


def in_words(cell: Mapping[str, Any]) -> str:
    place = [word(cell[name]) for name in ("poison", "dataset", "model")]
    how = [f"{rate(cell['rate'])} poisoned", f"{word(cell['discovered'])} discovered"]
    defended = look(defence(cell["method"], cell.get("tracing", "none"), named=True))["label"]
    return ", ".join([*place, *how, defended, f"seed {cell['seed']}"])
