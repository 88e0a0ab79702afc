"""Gradient canceling (Lu et al. 2023, arXiv 2303.03592): poison that harms the accuracy itself."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

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
)
from antidote.core.precision import float32
from antidote.metrics.accuracy import PlainAccuracy
from antidote.metrics.score import Regained
from antidote.poison.canceling import Canceling, chosen, gradient
from antidote.poison.descent import Descent, positive, whole
from antidote.poison.draw import check_rate, draw
from antidote.poison.gradpc import corrupt


class GradientCanceling(Attack):
    """Adds `rate` times as many images as the data have, so that training ends at a bad net.

    The target is a clean net whose weights are moved by `eps_w` where the loss rises (GradPC). The
    poison starts as drawn training images and keeps their labels; its pixels descend F, so that its
    gradients cancel the clean data's at the target, for the weights of `layers` ("last_linear",
    "first_conv", "all", or the start of a name). All in float32 and evaluation mode, un-augmented.

    Projected images are stored as the data's are, so bytes are rounded; with `project=False` (the
    public code) they may be anything, and all images are stored as floats. `ascent`: GradPC's step,
    `ascent_batch_size`: its batches; `batch_size`: rows in memory at a time; `descent`: see there.
    """

    needs_surrogate = True

    def __init__(
        self,
        rate: float,
        layers: str,
        eps_w: float,
        ascent: float,
        ascent_batch_size: int,
        batch_size: int,
        seed: int,
        **descent: Any,
    ) -> None:
        check_rate(rate)
        positive("eps_w", eps_w)
        positive("ascent", ascent)
        whole("ascent_batch_size", ascent_batch_size)
        whole("batch_size", batch_size)
        self.rate, self.layers, self.seed = rate, layers, seed
        self.eps_w, self.ascent, self.ascent_batch_size = eps_w, ascent, ascent_batch_size
        self.batch_size, self.descent = batch_size, Descent(**descent)

    def check_net(self, net: nn.Module) -> None:
        chosen(net, self.layers)

    def poison(self, data: Data, surrogate: Surrogate) -> Poison:
        n, rows = len(data.train), draw(self.rate, data.train, self.seed)
        start, net = data.train.take(rows), surrogate()
        self.check_net(net)
        with float32(rows.device), torch.enable_grad():
            x = self.crafted(net, data.train, start, surrogate.memo)
        clean = data.train.x if self.descent.project else as_float(data.train.x)
        train = Samples(torch.cat([clean, x]), torch.cat([data.train.y, start.y]))
        added = torch.arange(n, len(train), device=rows.device)
        plain = PlainAccuracy(data.num_classes)
        return Poison(
            train=train,
            truth=train.y,  # an added row is of the class that it is labelled
            indices=added,
            probes={
                "test": Probe(everything(data.test), plain),
                "poisoned": Probe(Loader(train, added), plain),
            },
            verdict=Regained("test/accuracy"),
        )

    def crafted(self, net: nn.Module, train: Samples, start: Samples, memo: Memo) -> Tensor:
        """The added images (m, ...), as bytes where the data's are and these fit."""
        clean = everything(train, batch_size=self.batch_size)
        clean = clean.with_(origin=clean.fingerprint)  # the bytes are hashed once
        target, x = self.target(net, clean, memo), as_float(start.x)

        @cache
        def F() -> Canceling:
            """Made only where a segment is not remembered."""
            weights = chosen(target, self.layers)
            target.requires_grad_(False)
            for w in weights:
                w.requires_grad_(True)
            return Canceling(target, weights, gradient(target, weights, clean), self.batch_size)

        def segment(x: Tensor, first: int) -> dict[str, Tensor]:
            loaders = [clean, everything(Samples(x, start.y))]
            work = self.work(f"steps from {first}")
            return memo.tensors(
                work, target, loaders, lambda: self.descent(F(), x, start.y, first)
            )[0]

        for first in range(0, self.descent.steps, self.descent.segment):
            found = segment(x, first)
            x = found["x"].to(x.device)
            if found["F"][-1] < self.descent.stop:
                break
        as_bytes = self.descent.project and train.x.dtype == torch.uint8
        return x.mul(255).round().byte() if as_bytes else x

    def target(self, net: nn.Module, clean: Loader, memo: Memo) -> nn.Module:
        """A copy of the net at the target parameters."""
        target = copy.deepcopy(net).requires_grad_(True).eval()

        def compute() -> dict[str, Tensor]:
            corrupt(target, clean.with_(batch_size=self.ascent_batch_size), self.eps_w, self.ascent)
            return dict(target.state_dict())

        target.load_state_dict(memo.tensors(self.work("target"), net, [clean], compute)[0])
        return target

    def work(self, part: str) -> Work:
        what = {"by": type(self), **vars(self), "part": part}
        return Work("crafting", what, "crafting, GradientCanceling")
