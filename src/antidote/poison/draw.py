"""The rows that an attack touches."""

from __future__ import annotations

import torch
from torch import Tensor

from antidote.core import Samples, generator, require


def check_rate(rate: float) -> None:
    require(
        0 < rate <= 1,
        f"poison.rate={rate} is not in (0, 1]; 0.01 poisons one training sample in a hundred",
    )


def count(rate: float, train: Samples) -> int:
    """How many samples a rate is; at least one."""
    n = round(rate * len(train))
    require(
        n > 0, f"poison.rate={rate} of {len(train)} training samples is no sample; raise the rate"
    )
    return n


def order(train: Samples, seed: int) -> Tensor:
    """All rows, shuffled: an attack takes its own from the front."""
    shuffled = torch.randperm(len(train), generator=generator(seed, "poison"))
    return shuffled.to(train.y.device)


def draw(rate: float, train: Samples, seed: int) -> Tensor:
    """Sorted rows, uniform without replacement; a smaller rate of one seed is inside a larger."""
    return order(train, seed)[: count(rate, train)].sort().values
