"""Blended injection (Chen et al. 2017, arXiv 1712.05526): a faint image over the whole image."""

from __future__ import annotations

import torch
from torch import Tensor

from antidote.core import Data, View, generator, require
from antidote.poison.labels import AllToOne
from antidote.poison.triggered import Triggered


def noise(data: Data, seed: int) -> Tensor:
    """An image (C, H, W) of uniform noise in 0..1, the paper's random pattern; one for a seed."""
    shape = data.train.x.shape[1:]
    return torch.rand(*shape, generator=generator(seed, "pattern")).to(data.train.x.device)


class Blend:
    """(1 - blend) x + blend pattern on the rows where `mask` (n,) is True."""

    def __init__(self, mask: Tensor, pattern: Tensor, blend: float) -> None:
        self.mask, self.pattern, self.blend = mask, pattern, blend

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        blended = x.lerp(self.pattern.to(x).expand_as(x), self.blend)
        return torch.where(self.mask[rows].view(-1, 1, 1, 1), blended, x)


class Blended(Triggered):
    """Blends one image of noise into `rate` of the training images, of all classes.

    They are labelled `target_class`. `blend` is the noise's opacity in (0, 1].
    """

    def __init__(
        self, rate: float, target_class: int | str, blend: float, stage: str, seed: int
    ) -> None:
        super().__init__(rate, AllToOne(target_class), stage, seed)
        require(0 < blend <= 1, f"poison.blend={blend} is not in (0, 1]; 1 hides what is below")
        self.blend = blend

    def stamp(self, data: Data, mask: Tensor) -> View:
        return Blend(mask, noise(data, self.seed), self.blend)
