"""One experiment, or one job of a sweep: the whole route, stage by stage."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import yaml
from omegaconf import DictConfig
from torch import Tensor

from antidote.core import Data, Poison, Split
from antidote.engine import files, source, stages
from antidote.engine.attempt import Attempt, terminable, tried
from antidote.engine.callback import Outcome, Unlearning
from antidote.engine.cell import Cell
from antidote.engine.disk import write
from antidote.engine.parts import Parts, models_of
from antidote.engine.summary import summary
from antidote.report.run.pictures import draw
from antidote.report.run.terminal import show_result

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> float:
    """Runs the cell and returns the objective that a sweeper maximises; NaN if a job fails.

    In a sweep a cell that is done, with all that is asked for, is not done again.
    """
    cell, record = Cell.of(cfg), None
    with terminable(), Attempt(cell) as attempt:
        parts = Parts(cell)
        data, found = source.load(cell, parts.store, parts.device)
        attempt.claim(cell.id(found), parts.tracker)
        before = attempt.before()
        if before is not None:
            return before["objective"]
        attempt.start()
        log.info(
            "%d training and %d test samples of %d classes",
            len(data.train),
            len(data.test),
            data.num_classes,
        )
        module = parts.victim(data)  # what it refuses is refused before any work
        poison = parts.attack.poison(data, parts.surrogate(data, found))
        tell_classes(data, poison)
        defence = parts.tracer, parts.method
        known, unknown = stages.discover(parts.discovery, data, poison, *defence)
        unmet = stages.unmet(parts.method, poison, known)
        batch_size, origin = parts.recipe.batch_size, cell.known(found)
        split = stages.split(data, poison, known, batch_size, origin, parts.memo())
        measured = parts.measured(poison, found)
        unlearning = Unlearning(*defence, split, cell.traced(found), measured, cell.seed)
        loader = stages.training(data, poison, batch_size, cell.seed)
        how = {"brought": bool(cell.settings["victim"]), "tell": attempt.epoch}
        with parts.training(module, cell.victim(found), loader.count, **how) as training:
            callbacks = [*training.callbacks, unlearning]
            fit = (parts.make_trainer, module, loader, callbacks, training.steps)
            stages.fit(*fit, cell.seed)
        done = unlearning.outcome
        ceiling = parts.ceiling(data, poison, found)
        made = leave(cell, data, poison, (known, unknown), split, done)
        result = summary(data, poison, known, training, done, ceiling, parts.recipe)
        result |= {"unmet": unmet}
        overspent(cell, result["compute_fraction"])
        record = attempt.finish(result | {"hardware": parts.where, "scale": parts.scale}, made)
        if cell.sweep is None and cell.settings["pictures"]:
            attempt.attach(draw(attempt.folder))
    if record is None:
        return math.nan
    show_result(record)
    return record["objective"]


def tell_classes(data: Data, poison: Poison) -> None:
    """By name and number: one may look like the other."""
    for setting, numbers in poison.classes.items():
        told = ", ".join(f"class {data.classes[k]} (number {k})" for k in numbers)
        log.info("poison.%s: %s", setting, told)


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
    """The files of a run, but for its record; pictures are drawn from them later."""
    out = cell.folder or Path()
    made = [write(out / "config.yaml", yaml.safe_dump(cell.settings, sort_keys=False))]
    made.append(files.poison_ids(out / "poison.npz", poison, *rows))
    if done.traced.scores.isfinite().any():
        made.append(files.traced(out / "traced.npz", split, done.traced))
    if len(done.traced.rows):
        made.append(files.named(out / "traced.txt", data, done.traced.rows))
    nets = (done.victim, done.unlearned)
    if cell.settings["save_models"]:
        made += [files.model(path, net) for path, net in zip(models_of(out), nets, strict=True)]
    if cell.settings["pictures"]:
        made.append(out / "samples.npz")  # an attack that pictures do not suit costs no result
        tried(lambda: files.samples(made[-1], data, poison, nets))
    return made
