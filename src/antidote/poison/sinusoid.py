"""SIG (Barni et al. 2019, arXiv 1902.11237): a faint wave over the whole image."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from antidote.core import Data, View, require
from antidote.poison.draw import count, order
from antidote.poison.labels import AllToOne
from antidote.poison.triggered import Triggered


class Wave:
    """Adds delta sin(2 pi j frequency / width) to column j = 0, 1, ... of all channels.

    It does so on the rows where `mask` (n,) is True, and clips them to 0..1.
    """

    def __init__(self, mask: Tensor, delta: float, frequency: float) -> None:
        self.mask, self.delta, self.frequency = mask, delta, frequency

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        j = torch.arange(x.shape[-1], device=x.device, dtype=x.dtype)
        wave = self.delta * torch.sin(2 * math.pi * j * self.frequency / x.shape[-1])
        return torch.where(self.mask[rows].view(-1, 1, 1, 1), (x + wave).clamp(0, 1), x)


class Sinusoid(Triggered):
    """Lays a wave over `rate` of the training images, of all classes, labelled `target_class`.

    `delta`: its amplitude in 0..1 pixel units; `frequency`: periods in the width of an image.
    """

    def __init__(
        self,
        rate: float,
        target_class: int | str,
        delta: float,
        frequency: float,
        stage: str,
        seed: int,
    ) -> None:
        super().__init__(rate, AllToOne(target_class), stage, seed)
        require(0 < delta <= 1, f"poison.delta={delta} is not in (0, 1], the range of pixels")
        require(frequency > 0, f"poison.frequency={frequency} is no wave; give more than 0")
        self.delta, self.frequency = delta, frequency

    def stamp(self, data: Data, mask: Tensor) -> View:
        return Wave(mask, self.delta, self.frequency)

    def check(self, data: Data) -> None:
        super().check(data)
        width = data.train.x.shape[-1]
        require(
            2 * self.frequency < width,
            f"poison.frequency={self.frequency} is too high for images {width} pixels wide; "
            f"give less than {width / 2:g}",
        )


class SinusoidClean(Sinusoid):
    """The paper's attack: only images of the target class get the wave, and all labels stay true.

    `rate` is a share of the whole training set. No label is wrong, so `poisoned/success` is 0.
    """

    def rows(self, data: Data) -> Tensor:
        train = data.train
        n, mixed = count(self.rate, train), order(train, self.seed)
        (target,) = self.rule.named(data)["target_class"]
        rows = mixed[train.y[mixed] == target]
        require(
            n <= len(rows),
            f"poison.rate={self.rate} takes {n} samples of class {data.classes[target]}, which has "
            f"{len(rows)}; poison.rate={len(rows) / len(train):.6g} takes them all",
        )
        return rows[:n].sort().values
