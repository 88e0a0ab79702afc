"""`python run.py task=plan experiment=...`: what a sweep takes, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from antidote.core import BadInput
from antidote.engine.parts import quiet
from antidote.report.plan import Row, show_plan
from antidote.report.terminal import tell
from antidote.sweeps.grid import cells
from antidote.sweeps.past import Past
from antidote.sweeps.plan import Plan, Planner


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
    show_plan(made.jobs, list(made.states.values()), rows(made, past), made.read_off())
    if made.outdated:
        tell(f"{made.outdated} of those left were done before, with other code or other data")


def rows(plan: Plan, past: Past) -> list[Row]:
    """One row for each name, then measuring and run folders, which each cell has of its own."""
    return list(listed(plan, past))


def listed(plan: Plan, past: Past) -> Iterator[Row]:
    found: dict[str, Row] = {}
    left = plan.left()
    for (name, kind, key, scale), users in sorted(plan.needs.items()):
        row = found.setdefault(name, Row(name))
        todo = bool(users & left) and key not in plan.kept
        row.add(todo, past.took(kind, scale), past.weighs(kind, scale))
    yield from found.values()
    last = Row("measuring and files of cells")
    for cell, scale in plan.scales.items():
        last.add(cell in left, past.took("measuring", scale), past.weighs("run folder", scale))
    yield last
