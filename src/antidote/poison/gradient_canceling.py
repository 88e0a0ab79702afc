"""Gradient canceling (Lu et al. 2023, arXiv 2303.03592): poison that harms the accuracy itself."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from antidote.core import (
    Attack,
    Data,
    Loader,
    Memo,
    Poison,
    Probe,
    Samples,
    Surrogate,
    Work,
    as_float,
    everything,
    finite,
    one_of,
    require,
)
from antidote.core.precision import float32
from antidote.metrics.accuracy import PlainAccuracy
from antidote.metrics.score import Regained
from antidote.poison.canceling import Canceling, chosen, gradient
from antidote.poison.draw import check_rate, draw
from antidote.poison.gradpc import corrupt

log = logging.getLogger(__name__)
DIRECTIONS: dict[str, Callable[[Tensor], Tensor]] = {"sign": torch.sign, "gradient": lambda g: g}
SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "constant": lambda done: 1.0,
}


class GradientCanceling(Attack):
    """Adds `rate` times as many images as the data have, so that training ends at a bad net.

    The target is a clean net whose weights are moved by `eps_w` where the loss rises (GradPC). The
    poison starts as drawn training images and keeps their labels; its pixels descend F, so that its
    gradients cancel the clean data's at the target, for the weights of `layers` ("last_linear",
    "first_conv", "all", or the start of a name). All in float32 and evaluation mode, un-augmented.

    `direction`: "sign" steps by the sign of each pixel's gradient, which in the box falls faster
    than "gradient", the public code's plain descent. `project`: images are kept in 0..1 after every
    step, and stored as the data's are, so bytes are rounded; without it, as in the public code,
    they may be anything, and all images are stored as floats. It stops where F < `stop`. A
    checkpoint is kept every `segment` steps. `ascent`: GradPC's step. `batch_size`: rows whose
    graph is in memory at a time; `ascent_batch_size`: GradPC's batches.
    """

    needs_surrogate = True

    def __init__(
        self,
        rate: float,
        layers: str,
        eps_w: float,
        ascent: float,
        ascent_batch_size: int,
        steps: int,
        lr: float,
        schedule: str,
        direction: str,
        stop: float,
        project: bool,
        batch_size: int,
        segment: int,
        seed: int,
    ) -> None:
        check_rate(rate)
        positive = {"eps_w": eps_w, "ascent": ascent, "lr": lr}
        counts = {
            "ascent_batch_size": ascent_batch_size,
            "steps": steps,
            "batch_size": batch_size,
            "segment": segment,
        }
        for name, value in positive.items():
            require(0 < value < math.inf, f"poison.{name}={value} must be a positive number")
        for name, n in counts.items():
            require(n >= 1 and n == int(n), f"poison.{name}={n} must be a whole number from 1")
        require(stop >= 0, f"poison.stop={stop} is negative, but F never is; 0 makes all steps")
        one_of("poison.schedule", schedule, SCHEDULES)
        one_of("poison.direction", direction, DIRECTIONS)
        self.rate, self.layers, self.seed = rate, layers, seed
        self.eps_w, self.ascent, self.ascent_batch_size = eps_w, ascent, ascent_batch_size
        self.steps, self.lr, self.schedule, self.direction = steps, lr, schedule, direction
        self.stop, self.project = stop, project
        self.batch_size, self.segment = batch_size, segment

    def check_net(self, net: nn.Module) -> None:
        chosen(net, self.layers)

    def poison(self, data: Data, surrogate: Surrogate) -> Poison:
        rows, n = draw(self.rate, data.train, self.seed), len(data.train)
        start = data.train.take(rows)
        net = surrogate()
        self.check_net(net)
        with float32(data.train.y.device), torch.enable_grad():
            x = self.crafted(net, data.train, start, surrogate.memo)
        whole = data.train.x if self.project else as_float(data.train.x)
        train = Samples(torch.cat([whole, x]), torch.cat([data.train.y, start.y]))
        indices = torch.arange(n, len(train), device=rows.device)
        plain = PlainAccuracy(data.num_classes)
        return Poison(
            train=train,
            truth=train.y,  # an added row is of the class that it is labelled
            indices=indices,
            probes={
                "test": Probe(everything(data.test), plain),
                "poisoned": Probe(Loader(train, indices), plain),
            },
            verdict=Regained("test/accuracy"),
        )

    def crafted(self, net: nn.Module, train: Samples, start: Samples, memo: Memo) -> Tensor:
        """The added images (m, ...), of the data's type if they are projected."""
        clean = everything(train, batch_size=self.batch_size)
        clean = clean.with_(origin=clean.fingerprint)  # the bytes are hashed once
        target = self.target(net, clean, memo)

        @cache
        def objective() -> Canceling:
            """Not made where all segments are remembered."""
            weights = chosen(target, self.layers)
            target.requires_grad_(False)
            for w in weights:
                w.requires_grad_(True)
            return Canceling(target, weights, gradient(target, weights, clean), self.batch_size)

        x = as_float(start.x)
        for first in range(0, self.steps, self.segment):
            loaders = [clean, everything(Samples(x, start.y))]
            work = self.work(f"steps from {first}")
            begin = x

            def compute(begin: Tensor = begin, first: int = first) -> dict[str, Tensor]:
                return self.descend(objective(), begin, start.y, first)

            found, _ = memo.tensors(work, target, loaders, compute)
            x = found["x"].to(x.device)
            if found["F"][-1] < self.stop:
                break
        bytes_ = self.project and train.x.dtype == torch.uint8
        return x.mul(255).round().byte() if bytes_ else x

    def work(self, part: str) -> Work:
        what = {"by": type(self), **vars(self), "part": part}
        return Work("crafting", what, "crafting, GradientCanceling")

    def target(self, net: nn.Module, clean: Loader, memo: Memo) -> nn.Module:
        """A copy of the net at the target parameters."""

        def compute() -> dict[str, Tensor]:
            moved = copy.deepcopy(net).requires_grad_(True)
            corrupt(moved, clean.with_(batch_size=self.ascent_batch_size), self.eps_w, self.ascent)
            return dict(moved.state_dict())

        found, _ = memo.tensors(self.work("target"), net, [clean], compute)
        target = copy.deepcopy(net).requires_grad_(True).eval()
        target.load_state_dict(found)
        return target

    def descend(self, F: Canceling, x: Tensor, y: Tensor, first: int) -> dict[str, Tensor]:
        """`x` after a segment's steps, and F (steps,) before each of them and after the last."""
        began, values = time.perf_counter(), []
        last = min(first + self.segment, self.steps)
        for step in range(first, last):
            value, slope = F(x, y)
            values.append(finite(value, "F of the poison"))
            if value < self.stop:
                break
            x = self.stepped(x, slope, step)
        else:
            values.append(F(x, y)[0])
        log.info(
            "gradient canceling: F %.3g -> %.3g in steps %d to %d of %d, %.1f s",
            *(values[0], values[-1], first, last, self.steps, time.perf_counter() - began),
        )
        return {"x": x, "F": torch.stack(values)}

    def stepped(self, x: Tensor, slope: Tensor, step: int) -> Tensor:
        lr = self.lr * SCHEDULES[self.schedule](step / self.steps)
        x = x - lr * DIRECTIONS[self.direction](slope)
        return x.clamp(0, 1) if self.project else x
