"""How long each kind of work took and how much it weighs, by the store and the records."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import mean, median
from typing import Any

from antidote.engine.records import Records
from antidote.engine.store import Store

KINDS = ("victims", "tracing", "importances", "search")
Scaled = dict[tuple[str, str], list[float]]


class Past:
    """`seconds` and bytes by (kind, scale): what is done for one net says nothing of another.

    Kinds are those of the store, a method's name for what it does in all, "measuring" and
    "run folder". What other code made counts as well.
    """

    def __init__(self, store: Store, output: Path) -> None:
        self.seconds: Scaled = defaultdict(list)
        self.bytes: Scaled = defaultdict(list)
        for kind in KINDS:
            for _, about in store.all(kind):
                self.seconds[kind, about.get("scale", "")].append(about["seconds"])
                self.bytes[kind, about.get("scale", "")].append(about["bytes"])
        for record in Records(output):
            if record["status"] == "ok":
                self.add(record)

    def add(self, record: dict[str, Any]) -> None:
        scale, seconds = record["scale"], record["seconds"]
        self.seconds[record["unlearning"], scale].append(seconds["unlearn"])
        self.seconds["measuring", scale].append(seconds["evaluate"])
        folder = Path(record["folder"])
        if folder.is_dir():
            size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
            self.bytes["run folder", scale].append(size)

    def took(self, kind: str, scale: str) -> float | None:
        """Seconds that work of this kind and scale takes, or None if it was never done."""
        known = self.seconds.get((kind, scale))
        return median(known) if known else None

    def weighs(self, kind: str, scale: str) -> float | None:
        """Bytes that work of this kind and scale leaves, or None if it was never done."""
        if kind not in (*KINDS, "run folder"):
            return 0.0
        known = self.bytes.get((kind, scale))
        return mean(known) if known else None
