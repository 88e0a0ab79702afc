"""How long work takes that was never done here, guessed from a few seconds of training."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F

from antidote.core import Data, Poison
from antidote.core.meter import FORWARD
from antidote.engine import source, stages
from antidote.engine.cell import Cell, bad_input
from antidote.engine.parts import Parts
from antidote.engine.store import Store
from antidote.metrics.score import Untouched

log = logging.getLogger(__name__)
SECONDS, BATCH = 3.0, 128
LOOKS = 6  # at as many images as the test part has: three probes, before and after


class Speed(NamedTuple):
    """`seconds` per sample gradient; rows of the training and of the test part."""

    seconds: float
    train: int
    test: int

    def of(self, cost: Callable[[int], float]) -> float:
        return self.seconds * cost(self.train)

    def measuring(self) -> float:
        return self.seconds * FORWARD * LOOKS * self.test


def speed(cell: Cell) -> Speed | None:
    """Of the cell's net on its data, in its precision; None where either cannot be had.

    The poison changes nothing about it.
    """
    try:
        return measured(Parts(cell), cell)
    except Exception as error:
        log.warning("no guess of times: %s", bad_input(error) or error)
        return None


def measured(parts: Parts, cell: Cell) -> Speed:
    nothing_kept = Store(cell.settings["store"], "off")
    data, _ = source.load(cell, nothing_kept, parts.device)
    module = parts.make_victim(recipe=parts.recipe, data=data)
    net = module.net.to(parts.device).train()
    size = min(BATCH, parts.recipe.batch_size)
    loader = stages.training(data, clean(data), size, cell.seed)
    trainer = parts.make_trainer(max_steps=0, logger=False)
    began, done = time.perf_counter(), 0
    for i, (x, y) in enumerate(loader):
        with trainer.precision_plugin.forward_context():
            loss = F.cross_entropy(net(x), y)
        loss.backward()
        loss.item()  # a GPU is waited for
        if i == 0:  # the first step sets up what the others find
            began, done = time.perf_counter(), 0
            continue
        done += len(y)
        if time.perf_counter() - began > SECONDS:
            break
    each = (time.perf_counter() - began) / max(1, done)
    return Speed(each, len(data.train), len(data.test))


def clean(data: Data) -> Poison:
    nobody = torch.empty(0, dtype=torch.int64, device=data.train.y.device)
    return Poison(data.train, data.train.y, nobody, {}, Untouched("test/accuracy"))
