"""What past runs tell a plan: which work is kept, how long each kind took, how much it weighs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median
from typing import Any

from antidote.ledger import read

STAGES = {"victims": "victim", "importances": "importances", "paths": "search"}


class Past:
    """Reads cells and the cache below `output`; entries that other code made count as well.

    `kept` holds (kind, label); `seconds` and `sizes` are lists by (kind, scale): what is done for
    one data set, net and training says nothing of another.
    """

    def __init__(self, output: Path) -> None:
        self.kept: set[tuple[str, str]] = set()
        self.seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.sizes: dict[tuple[str, str], list[int]] = defaultdict(list)
        for file, about in files(output / "cache", "*/*/entry.json"):
            self.entry(STAGES.get(file.parts[-3]), about, file.parent)
        for file, about in files(output / "cache", "paths/*.json"):
            tries = [row["seconds"] for row in read(file).values()]
            self.entry("search", about | {"seconds": sum(tries)}, file)
        for _, result in files(output / "cells", "*.json"):
            self.cell(result)

    def entry(self, kind: str | None, about: dict[str, Any], path: Path) -> None:
        label = about.get("of")
        if kind and label:
            key = (kind, scale_of(label))
            self.kept.add((kind, label))
            self.seconds[key].append(about["seconds"])
            self.sizes[key].append(weight(path))

    def cell(self, result: dict[str, Any]) -> None:
        scale = result.get("scale")
        if scale:
            self.seconds[result["unlearning"], scale].append(result["seconds"]["unlearn"])
            self.seconds["measuring", scale].append(result["seconds"]["evaluate"])
            if Path(result["folder"]).is_dir():
                self.sizes["run folder", scale].append(weight(Path(result["folder"])))

    def took(self, kind: str, label: str) -> float | None:
        """Seconds that work of this kind and scale takes, or None if it was never done."""
        known = self.seconds.get((kind, scale_of(label)))
        return median(known) if known else None

    def weighs(self, kind: str, label: str) -> float | None:
        """Bytes that work of this kind and scale leaves, or None if it was never done."""
        if kind not in (*STAGES.values(), "run folder"):
            return 0.0
        known = self.sizes.get((kind, scale_of(label)))
        return mean(known) if known else None


def scale_of(label: str) -> str:
    return label.split("-")[0]


def files(folder: Path, pattern: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """All JSON files that can be read."""
    for path in sorted(folder.glob(pattern)):
        try:
            yield path, json.loads(path.read_text())
        except (OSError, ValueError):
            continue


def weight(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    every = path.rglob("*") if path.is_dir() else [path]
    return sum(p.stat().st_size for p in every if p.is_file())
