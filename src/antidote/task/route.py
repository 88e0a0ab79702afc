"""The whole route of one cell, stage by stage."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from antidote.core import Data, Poison, Split
from antidote.engine import files, source, stages
from antidote.engine.attempt import Attempt, tried
from antidote.engine.callback import Outcome, Unlearning
from antidote.engine.cell import Cell
from antidote.engine.parts import Parts, models_of
from antidote.engine.records import Record
from antidote.engine.summary import summary
from antidote.metrics.judgement import doubts
from antidote.progress import at
from antidote.report.run.pictures import draw

log = logging.getLogger(__name__)


def route(cell: Cell, attempt: Attempt) -> Record:
    """The record of the cell, which is made unless it is there."""
    parts = Parts(cell)
    data, found = source.load(cell, parts.store, parts.device)
    attempt.claim(cell.id(found), parts.tracker)
    before = attempt.before(lambda folder: parts.restored(data, models_of(folder)[1]))
    if before is not None:
        return before
    attempt.start()
    log.info(
        "%d training and %d test samples of %d classes",
        len(data.train),
        len(data.test),
        data.num_classes,
    )
    module = parts.victim(data)  # what it refuses is refused before any work
    with at("crafting the poison"):
        poison = parts.attack.poison(data, parts.surrogate(data, found))
    tell_classes(data, poison)
    defence = parts.tracer, parts.method
    known, unknown = stages.discover(parts.discovery, data, poison, *defence)
    unmet = stages.unmet(parts.method, poison, known)
    batch_size = parts.recipe.batch_size
    split = stages.split(data, poison, known, batch_size, cell.known(found), parts.memo())
    measured = parts.measured(poison, found)
    called = cell.choices["tracing"], cell.choices["unlearning"]
    doubt = partial(doubts, classes=data.num_classes, verdict=poison.verdict)
    origin = cell.traced(found)
    unlearning = Unlearning(*defence, split, origin, measured, cell.seed, called, doubt)
    loader = stages.training(data, poison, batch_size, cell.seed)
    how: dict[str, Any] = {"brought": bool(cell.settings["victim"]), "tell": attempt.epoch}
    key = cell.victim(found)
    with at("victim"), parts.training(module, key, loader.count, **how) as training:
        callbacks = [*training.callbacks, unlearning]
        fit = (parts.make_trainer, module, loader, callbacks, training.steps)
        stages.fit(*fit, cell.seed)
    done = unlearning.outcome
    ceiling = parts.ceiling(data, poison, found)
    made = leave(cell, data, poison, (known, unknown), split, done)
    told = parts.recipe, parts.method.gentler
    result = summary(data, poison, known, training, done, ceiling, *told)
    result |= {"unmet": unmet, "hardware": parts.where, "scale": parts.scale}
    overspent(cell, result["compute_fraction"])
    healed = done.unlearned if cell.settings["save_models"] else None
    record = attempt.finish(result, made, healed)
    if cell.sweep is None and cell.settings["pictures"]:
        attempt.attach(draw(attempt.folder))
    return record


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
    """What a run found; pictures are drawn from it later."""
    out = cell.folder or Path()
    made = [files.poison_ids(out / "poison.npz", poison, *rows)]
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
