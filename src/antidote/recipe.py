"""How something is trained: optimiser, learning-rate schedule, batch size and length.

Imports torch only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from antidote.core import BadInput, require
from antidote.core.data import batches


@dataclass(frozen=True)
class Recipe:
    """A training recipe of `epochs` (passes) or `steps` (optimiser iterations), never both.

    `optimizer(parameters)` and `schedule(optimizer, total_steps=T)` are partials from YAML.
    """

    optimizer: Callable[[Iterable[Tensor]], Optimizer]
    schedule: Callable[..., LRScheduler]
    batch_size: int
    epochs: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        require(
            (self.epochs is None) != (self.steps is None),
            f"recipe.epochs={self.epochs} and recipe.steps={self.steps}: "
            "give one of the two and set the other to null",
        )
        length = self.epochs if self.steps is None else self.steps
        require(
            length is not None and length > 0,
            f"a recipe of length {length} trains nothing; give at least one step",
        )
        require(self.batch_size > 0, f"recipe.batch_size={self.batch_size} must be at least 1")

    def check(self) -> None:
        """Builds optimiser and schedule on nothing, to refuse bad numbers before data is read."""
        try:
            self.optimizers([torch.zeros(1, requires_grad=True)], 100)
        except (ValueError, TypeError) as error:
            raise BadInput(f"the recipe's optimizer or schedule is refused: {error}") from error

    def total_steps(self, samples: int) -> int:
        """Optimiser iterations on that many samples, the last partial batch counted.

        A last batch of one is none: loaders that train join it to the one before.
        """
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, round(self.epochs * batches(samples, self.batch_size, join=True)))

    def sample_gradients(self, n: int) -> int:
        """Sample gradients of a whole training on n samples."""
        passes, rest = divmod(self.total_steps(n), batches(n, self.batch_size, join=True))
        return passes * n + rest * self.batch_size

    def optimizers(self, parameters: Iterable[Tensor], steps: int) -> dict[str, Any]:
        """What a LightningModule's `configure_optimizers` returns; the schedule moves each step."""
        optimizer = self.optimizer(parameters)
        # a restored net is fitted for no step at all, and OneCycleLR refuses 0
        schedule = self.schedule(optimizer, total_steps=max(1, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def warmup_linear(
    optimizer: Optimizer, total_steps: int, warmup: float = 0.01, stretch: float = 1.25
) -> LambdaLR:
    """The reference's schedule (Potion; methods.py of its code, described in our docs).

    With w = int(warmup * total_steps) and T = stretch * total_steps: lr * (t+1)/(w+1) for t < w,
    then lr * (1 - (t-w)/T). At t = total_steps it is at about 0.208 lr, not 0.
    """
    w, T = int(warmup * total_steps), stretch * total_steps
    return LambdaLR(optimizer, lambda t: (t + 1) / (w + 1) if t < w else 1 - (t - w) / T)


def constant(optimizer: Optimizer, total_steps: int) -> LambdaLR:
    """The same learning rate throughout."""
    return LambdaLR(optimizer, lambda t: 1.0)


def cosine(optimizer: Optimizer, total_steps: int) -> LambdaLR:
    """Half a cosine from the whole learning rate to 0 (Loshchilov & Hutter 2017, 1608.03983)."""
    return LambdaLR(optimizer, lambda t: (1 + math.cos(math.pi * min(t / total_steps, 1.0))) / 2)
