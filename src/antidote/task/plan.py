"""`python run.py task=plan experiment=...`: what a sweep takes, before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from antidote.core import BadInput
from antidote.engine.cell import Cell
from antidote.engine.parts import quiet
from antidote.report.plan import Row, show_plan
from antidote.report.terminal import tell
from antidote.sweeps.grid import cells
from antidote.sweeps.past import Past
from antidote.sweeps.plan import Plan, Planner
from antidote.sweeps.speed import Speed, speed


def plan(cfg: DictConfig) -> None:
    """Prints what the sweep takes that the command line describes."""
    quiet()
    try:
        found = cells()
        planner = Planner(found[0])
        for cell in found:
            planner.add(cell)
    except (BadInput, OmegaConfBaseException) as error:
        raise SystemExit(f"error: {' '.join(str(error).split())}") from None
    made = planner.plan
    past = Past(planner.store, found[0].output)
    show_plan(made.jobs, list(made.states.values()), rows(made, past, speed), made.read_off())
    if made.outdated:
        tell(f"{made.outdated} of those left were done before, with other code or other data")


def rows(
    plan: Plan, past: Past, speed: Callable[[Cell], Speed | None] = lambda cell: None
) -> list[Row]:
    """One row for each name, then measuring and run folders, which each cell has of its own.

    `speed` is asked once for each scale of which nothing is known.
    """
    return list(listed(plan, past, cache(speed_of(plan, speed))))


def speed_of(plan: Plan, speed: Callable[[Cell], Speed | None]) -> Callable[[str], Speed | None]:
    return lambda scale: speed(plan.example[scale])


def listed(plan: Plan, past: Past, speed: Callable[[str], Speed | None]) -> Iterator[Row]:
    found: dict[str, Row] = {}
    left = plan.left()
    for need, users in sorted(plan.needs.items()):
        name, kind, key, scale = need
        row = found.setdefault(name, Row(name))
        todo = bool(users & left) and key not in plan.kept
        seconds, cost = past.took(kind, scale), plan.costs[need]
        here = speed(scale) if todo and seconds is None and cost is not None else None
        guess = here.of(cost) if here and cost else None
        row.add(todo, seconds, past.weighs(kind, scale), guess)
    yield from found.values()
    last = Row("measuring and files of cells")
    for cell, scale in plan.scales.items():
        seconds = past.took("measuring", scale)
        here = speed(scale) if cell in left and seconds is None else None
        size = past.weighs("run folder", scale)
        last.add(cell in left, seconds, size, here.measuring() if here else None)
    yield last
