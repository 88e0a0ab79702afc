"""The table of all metrics (table.yaml): what each is called, its unit, and where it is shown."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

UNITS = ("share", "points", "seconds", "number")


@dataclass(frozen=True)
class Metric:
    """One line of table.yaml, which explains the columns; `name` is the results' column."""

    name: str
    label: str
    brief: str
    unit: str
    shown: tuple[str, ...]
    meaning: str
    better: str = ""
    optional: bool = False

    @property
    def arrow(self) -> str:
        """Which way is good."""
        return {"more": "↑", "less": "↓"}.get(self.better, "")


@cache
def table() -> dict[str, Metric]:
    """All metrics by name, in the order in which they are shown."""
    lines = yaml.safe_load(Path(__file__).with_name("table.yaml").read_text())
    return {line["name"]: Metric(**line | {"shown": tuple(line["shown"])}) for line in lines}


def shown(place: str, had: Container[str] | None = None) -> list[Metric]:
    """What a place shows; of `optional` metrics those alone that are in `had`, if that is told."""
    here = (metric for metric in table().values() if place in metric.shown)
    return [m for m in here if had is None or not m.optional or m.name in had]
