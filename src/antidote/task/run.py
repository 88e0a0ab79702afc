"""One experiment, or one job of a sweep."""

from __future__ import annotations

import math
from collections.abc import Callable

from omegaconf import DictConfig

from antidote.engine.attempt import Attempt, tried
from antidote.engine.cell import Cell
from antidote.engine.records import Record
from antidote.engine.stop import terminable
from antidote.progress import told
from antidote.report.run.note import note


def run(cfg: DictConfig, show: Callable[[Record], None] | None = None) -> float:
    """Runs the cell and returns the objective that a sweeper maximises; NaN if a job fails.

    `show` gets the record, by default to print it. In a sweep a cell that is done, with all that is
    asked for, is not done again. What can be refused by its settings alone is refused before
    Lightning and MLflow are imported, which takes seconds.
    """
    cell, record = Cell.of(cfg), None
    with terminable(), Attempt(cell, note) as attempt:
        cell.check()
        from antidote.task.route import route

        with told(cell.settings["progress"]):
            record = route(cell, attempt)
    if record is None:
        return math.nan
    if attempt.done is not None:
        show(attempt.done) if show else printed(attempt.done, cell)
        tried(lambda: attempt.attach(attempt.logs()))
    return record["objective"]


def printed(record: Record, cell: Cell) -> None:
    from antidote.report.run.terminal import show_result
    from antidote.sweeps.row import own

    show_result(record, cell.log, own(cell))
