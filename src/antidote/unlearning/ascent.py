"""Up the loss of the known poison: GA and NegGrad+ (Kurmanji et al. 2023, arXiv 2302.09880)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from antidote.core import Loader, Split, require
from antidote.unlearning.finetune import Fraction, everybody
from antidote.unlearning.modes import alone

Batch = tuple[Tensor, Tensor]


class GradientAscent(Fraction):
    """loss = -CE on the known poison, and nothing else is looked at.

    Its passes are over the known poison, and so is the training whose share a budget is: 4 % of
    100 epochs are four passes over it.
    """

    def batches(self, split: Split) -> Loader:
        return split.forget

    def length(self, split: Split) -> int:
        return max(1, round(self.fraction * self.recipe.total_steps(split.forget.count)))

    def part(self, split: Split) -> float:
        return split.forget.count / everybody(split)

    def loss(self, net: nn.Module, batch: Any, *teachers: nn.Module) -> Tensor:
        return -super().loss(net, batch, *teachers)


class Pairs:
    """Each batch of `retain` with the next one of `forget`, which begins anew when it is over."""

    def __init__(self, retain: Loader, forget: Loader) -> None:
        self.retain, self.forget = retain, self.endless(forget)

    def endless(self, loader: Loader) -> Iterator[Batch]:
        while True:
            yield from loader

    def __iter__(self) -> Iterator[tuple[Batch, Batch]]:
        for batch in self.retain:
            yield batch, next(self.forget)


class NegGradPlus(Fraction):
    """loss = beta CE(retained) - (1 - beta) CE(known poison), one batch of each in a step."""

    def __init__(self, beta: float, **settings: Any) -> None:
        super().__init__(**settings)
        require(0 <= beta <= 1, f"unlearning.beta={beta} is not in [0, 1]; 1 is fine-tuning")
        self.beta = beta

    def passes(self, split: Split) -> Pairs:
        return Pairs(self.shuffled(split.retain), self.shuffled(split.forget, "ascent"))

    def size(self, batch: Any) -> int:
        return sum(len(y) for _, y in batch)

    def cut(self, batch: Any, n: int) -> Any:
        known = min(len(batch[1][1]), n // 2)
        counts = n - known, known
        return tuple((x[:k], y[:k]) for (x, y), k in zip(batch, counts, strict=True))

    def loss(self, net: nn.Module, batch: Any, *teachers: nn.Module) -> Tensor:
        retained, known = (self.cross_entropy(net, *part) for part in batch)
        return self.beta * retained - (1 - self.beta) * known

    def cross_entropy(self, net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        with alone(net) if len(y) == 1 else nullcontext():
            return F.cross_entropy(net(x), y)
