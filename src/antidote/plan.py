"""What a sweep takes, worked out before anything runs: no data is read, no net is built."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from antidote import labels
from antidote.cells import Cell
from antidote.checks import require
from antidote.config import build, choices, content, short_hash, threads_of
from antidote.grid import cells, composer
from antidote.past import Past
from antidote.report.plan import Row, show_plan
from antidote.unlearning.ptn import PTN
from antidote.unlearning.retrain import Retrain
from antidote.unlearning.trained import Trained

Work = tuple[str, str, str]  # name in the table, kind (what past runs call it), label


@dataclass
class Plan:
    """`states`: done, failed or missing, by cell; `work`: which cells need it; `scales` by cell."""

    jobs: int = 0
    states: dict[str, str] = field(default_factory=dict)
    work: dict[Work, set[str]] = field(default_factory=lambda: defaultdict(set))
    scales: dict[str, str] = field(default_factory=dict)

    def add(self, cfg: DictConfig, methods: dict[str, Any]) -> None:
        """The cell of one job. `methods` keeps those that are built, by their settings."""
        what, threads = content(cfg), threads_of(cfg)
        cell, settings = short_hash(what), short_hash(what["unlearning"])
        self.jobs += 1
        if cell in self.states:
            return
        self.states[cell] = Cell(cfg.output, cell).state()
        self.scales[cell] = labels.scale(what, threads)
        if settings not in methods:
            methods[settings] = build(cfg, "unlearning")
        if not what["victim"]:
            self.work["victims", "victim", labels.victim(what, threads)].add(cell)
        for name, kind, parts in needs(methods[settings], what["unlearning"]):
            label = labels.unlearning(what, threads, parts)
            self.work[name, kind or choices()["unlearning"], label].add(cell)

    def count(self, name: str) -> int:
        """Different pieces of work of that name."""
        return sum(n == name for n, _, _ in self.work)

    def left(self) -> set[str]:
        return {cell for cell, state in self.states.items() if state != "done"}

    def rows(self, past: Past) -> list[Row]:
        """One row for each name, then measuring and run folders, which each cell has of its own."""
        found: dict[str, Row] = {}
        open_cells = self.left()
        for (name, kind, label), users in sorted(self.work.items()):
            row = found.setdefault(name, Row(name))
            todo = bool(users & open_cells) and (kind, label) not in past.kept
            row.add(todo, past.took(kind, label), past.weighs(kind, label))
        last = Row("measuring and files of cells")
        for cell, scale in self.scales.items():
            took, weighs = past.took("measuring", scale), past.weighs("run folder", scale)
            last.add(cell in open_cells, took, weighs)
        return [*found.values(), last]

    def read_off(self) -> int:
        """Cells with a search that another cell's search has walked, as far as it went."""
        users = [users for (name, _, _), users in self.work.items() if name == "search paths"]
        return sum(map(len, users)) - len(users)


def needs(method: Any, settings: Any) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(name, kind, what determines it) of each piece of work in a method and those it is made of.

    The kind is empty where past runs know it by the method's name.
    """
    if hasattr(method, "what"):
        objective = getattr(method.what().get("objective"), "__name__", "")
        yield f"importances, {objective}", "importances", method.what()
    if isinstance(method, PTN):
        yield "search paths", "search", method.signature()
    if isinstance(method, Retrain):
        yield "retrainings", "", {"settings": settings}
    elif isinstance(method, Trained):
        yield f"other trainings, {type(method).__name__}", "", {"settings": settings}
    for part in vars(method).values():
        if hasattr(part, "unlearn"):
            yield from needs(part, settings)


def plan_of(jobs: Sequence[Sequence[str]]) -> Plan:
    """The plan of these jobs, each given by its overrides."""
    plan, methods = Plan(), dict[str, Any]()
    with composer() as compose:
        for overrides in jobs:
            plan.add(compose(overrides), methods)
    return plan


def plan(cfg: DictConfig) -> None:
    """Prints what the sweep takes that the command line describes."""
    require(cfg.output is not None, "output is empty; a plan looks there for what is done")
    found = plan_of(cells())
    show_plan(
        found.jobs,
        list(found.states.values()),
        found.rows(Past(Path(cfg.output))),
        found.read_off(),
    )
