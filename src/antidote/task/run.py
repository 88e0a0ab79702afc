"""One experiment, or one job of a sweep: the whole route, stage by stage."""

from __future__ import annotations

import logging
import math
from pathlib import Path

from omegaconf import DictConfig
from torch import Tensor

from antidote.core import Data, Poison, Split
from antidote.engine import files, source, stages
from antidote.engine.attempt import Attempt, terminable, tried
from antidote.engine.callback import Outcome, Unlearning
from antidote.engine.cell import Cell
from antidote.engine.parts import Parts, models_of
from antidote.engine.summary import summary
from antidote.report.run.note import note
from antidote.report.run.pictures import draw
from antidote.report.run.terminal import show_result

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> float:
    """Runs the cell and returns the objective that a sweeper maximises; NaN if a job fails.

    In a sweep a cell that is done, with all that is asked for, is not done again.
    """
    cell, record = Cell.of(cfg), None
    with terminable(), Attempt(cell, note) as attempt:
        parts = Parts(cell)
        data, found = source.load(cell, parts.store, parts.device)
        attempt.claim(cell.id(found), parts.tracker)
        before = attempt.before(lambda folder: parts.restored(data, models_of(folder)[1]))
        if before is not None:
            return before["objective"]
        attempt.start()
        log.info(
            "%d training and %d test samples of %d classes",
            len(data.train),
            len(data.test),
            data.num_classes,
        )
        poison = parts.attack.poison(data, parts.surrogate(data, found))
        known, unknown = stages.discover(parts.discovery, poison, parts.tracer, parts.method)
        unmet = stages.unmet(parts.method, poison, known)
        batch_size, origin = parts.recipe.batch_size, cell.known(found)
        split = stages.split(data, poison, known, batch_size, origin, parts.memo())
        defence = parts.tracer, parts.method, split, cell.traced(found)
        unlearning = Unlearning(*defence, parts.measured(poison, found), cell.seed)
        module = parts.make_victim(recipe=parts.recipe, data=data)
        loader = stages.training(data, poison, batch_size, cell.seed)
        brought = {"path": cell.settings["victim"], "tell": attempt.epoch}
        with parts.training(module, cell.victim(found), loader.count, **brought) as training:
            callbacks = [*training.callbacks, unlearning]
            fit = (parts.make_trainer, module, loader, callbacks, training.steps)
            stages.fit(*fit, cell.seed)
        done = unlearning.outcome
        ceiling = parts.ceiling(data, poison, found)
        made = leave(cell, data, poison, (known, unknown), split, done)
        result = summary(data, poison, known, training, done, ceiling, parts.recipe)
        result |= {"unmet": unmet}
        overspent(cell, result["compute_fraction"])
        result |= {"hardware": parts.where, "scale": parts.scale}
        healed = done.unlearned if cell.settings["save_models"] else None
        record = attempt.finish(result, made, healed)
        if cell.sweep is None and cell.settings["pictures"]:
            attempt.attach(draw(attempt.folder))
    if record is None:
        return math.nan
    show_result(record)
    return record["objective"]


def overspent(cell: Cell, spent: float) -> None:
    """A budget sets the length of those methods that have one; the others are told of."""
    budget = cell.settings["budget"]
    if budget and spent > budget["share"] + 1e-9:
        log.warning(
            "it took %.3g of the victim's training, more than budget.share=%g: not all methods "
            "have a length that a budget can set",
            spent,
            budget["share"],
        )


def leave(
    cell: Cell,
    data: Data,
    poison: Poison,
    rows: tuple[Tensor, Tensor],
    split: Split,
    done: Outcome,
) -> list[Path]:
    """What a run found; pictures are drawn from it later."""
    out = cell.folder or Path()
    made = [files.poison_ids(out / "poison.npz", poison, *rows)]
    if done.traced.scores.isfinite().any():
        made.append(files.traced(out / "traced.npz", split, done.traced))
    nets = (done.victim, done.unlearned)
    if cell.settings["save_models"]:
        made += [files.model(path, net) for path, net in zip(models_of(out), nets, strict=True)]
    if cell.settings["pictures"]:
        made.append(out / "samples.npz")  # an attack that pictures do not suit costs no result
        tried(lambda: files.samples(made[-1], data, poison, nets))
    return made
