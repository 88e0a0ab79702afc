"""What a sweep takes, worked out before anything runs: no data are read, no net is built."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from antidote.core import Attack
from antidote.core.data import fingerprint, loader_fingerprint
from antidote.engine import source, stages, victim
from antidote.engine.cell import Cell, short_hash
from antidote.engine.code import code, targets
from antidote.engine.memo import key_of
from antidote.engine.records import Records
from antidote.engine.store import Store

Need = tuple[str, str, str, str]  # name in the table, kind, key in the store, scale
Cost = Callable[[int], float] | None  # sample gradients for n training rows


@dataclass
class Plan:
    """`states`: done, failed, running or missing, by cell; `needs`: which cells need what."""

    jobs: int = 0
    states: dict[str, str] = field(default_factory=dict)
    needs: dict[Need, set[str]] = field(default_factory=lambda: defaultdict(set))
    scales: dict[str, str] = field(default_factory=dict)
    costs: dict[Need, Cost] = field(default_factory=dict)
    example: dict[str, Cell] = field(default_factory=dict)  # a cell of each scale
    kept: set[str] = field(default_factory=set)
    outdated: int = 0

    def count(self, name: str) -> int:
        """Different pieces of work of that name."""
        return sum(n == name for n, _, _, _ in self.needs)

    def left(self) -> set[str]:
        return {cell for cell, state in self.states.items() if state != "done"}

    def read_off(self) -> int:
        """Cells with a search that another cell's search has walked, as far as it went."""
        users = [users for (name, *_), users in self.needs.items() if name == "search paths"]
        return sum(map(len, users)) - len(users)


class Planner:
    """Adds cells to a plan; asks the store for the fingerprints that a run will use."""

    def __init__(self, first: Cell) -> None:
        self.plan, self.records = Plan(), Records(first.output)
        self.store = Store(first.settings["store"], "on")
        self.parts: dict[str, Any] = {}
        self.hardware: dict[tuple[str, int], dict[str, Any]] = {}
        self.done_otherwise = {r["config_hash"] for r in self.records if r["status"] == "ok"}

    def add(self, cell: Cell) -> None:
        data = source.known(cell, self.store) or f"unread {source.key_of(cell)}"
        id, where = cell.id(data), self.where(cell)
        self.plan.jobs += 1
        if id in self.plan.states:
            return
        state = self.records.state(id).replace("killed", "failed")
        self.plan.states[id] = state
        self.plan.outdated += state != "done" and cell.config_hash in self.done_otherwise
        self.plan.scales[id] = cell.scale(where)
        self.plan.example.setdefault(cell.scale(where), cell)
        for need, cost in self.needs(cell, data, where):
            self.plan.needs[need].add(id)
            self.plan.costs[need] = cost

    def where(self, cell: Cell) -> dict[str, Any]:
        """The hardware that a run of this cell would find here."""
        key = short_hash(cell.settings["trainer"]), cell.threads
        if key not in self.hardware:
            torch.set_num_threads(cell.threads)
            trainer = cell.build("trainer")(max_steps=0, logger=False)
            self.hardware[key] = stages.hardware(trainer)
        return self.hardware[key]

    def needs(self, cell: Cell, data: str, where: dict[str, Any]) -> Iterator[tuple[Need, Cost]]:
        """In the order in which they are met."""
        scale = cell.scale(where)
        fit = self.built(cell, "recipe").sample_gradients
        attack: Attack = self.built(cell, "poison")
        if attack.needs_surrogate:
            clean = fingerprint(cell.surrogate(data), where)
            self.keep(clean, self.store.about(victim.KIND, clean))
            yield ("surrogates", victim.KIND, clean, scale), fit
            # in steps, of which the store knows; whether all are there is not looked at
            yield ("crafted poisons", "crafting", cell.poisoned(data), scale), None
        key = fingerprint(cell.victim(data), where)
        about = None if cell.settings["victim"] else self.store.about(victim.KIND, key)
        if not cell.settings["victim"]:
            self.keep(key, about)
            yield ("victims", victim.KIND, key, scale), fit
        if cell.settings["ceiling"]:
            best = fingerprint(cell.ceiling(data), where)
            self.keep(best, self.store.about(victim.KIND, best))
            yield ("victims without poison", victim.KIND, best, scale), fit
        weights = about["weights"] if about else f"of {key}"
        net = [code(targets(cell.content["model"])), where]
        for group, origin in (("tracing", cell.known(data)), ("unlearning", cell.traced(data))):
            loaders = self.loaders(cell, origin)
            for work in self.built(cell, group).work():
                if work.kind == "training":  # its result is the cell's
                    need = work.name, cell.choices["unlearning"], cell.id(data), scale
                    yield need, work.gradients
                    continue
                key = key_of(work, weights, loaders, net)
                self.keep(key, self.store.about(work.kind, key))
                yield (work.name, work.kind, key, scale), work.gradients

    def loaders(self, cell: Cell, origin: str) -> list[str]:
        """Fingerprints of the two that a defence gets."""
        size = cell.settings["recipe"]["batch_size"]
        parts = ("forget", "retain")
        return [loader_fingerprint(stages.part_of(origin, part), size) for part in parts]

    def keep(self, key: str, about: Any) -> None:
        if about is not None:
            self.plan.kept.add(key)

    def built(self, cell: Cell, group: str) -> Any:
        settings = short_hash(cell.content[group])
        if settings not in self.parts:
            self.parts[settings] = cell.build(group)
        return self.parts[settings]


def plan_of(cells: Iterable[Cell]) -> Plan:
    """The plan of these jobs."""
    planner: Planner | None = None
    for cell in cells:
        planner = planner or Planner(cell)
        planner.add(cell)
    return planner.plan if planner else Plan()
