"""A square of one colour in a corner of an image."""

from __future__ import annotations

import torch
from torch import Tensor

from antidote.core import Data, as_float, one_of, require

CORNERS = {  # rows and columns of a size x size square in that corner
    "bottom_right": lambda size: (slice(-size, None), slice(-size, None)),
    "bottom_left": lambda size: (slice(-size, None), slice(size)),
    "top_right": lambda size: (slice(size), slice(-size, None)),
    "top_left": lambda size: (slice(size), slice(size)),
}


class Patch:
    """Stamps a square of `size` pixels into one corner of the rows where `mask` is True.

    `value` (C,) may lie slightly outside 0..1: see `brightest`. `blend` is its opacity in (0, 1].
    """

    def __init__(self, mask: Tensor, size: int, value: Tensor, corner: str, blend: float) -> None:
        self.mask, self.size, self.value = mask, size, value
        self.corner, self.blend = corner, blend

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        stamped = x.clone()
        height, width = CORNERS[self.corner](self.size)
        square = stamped[:, :, height, width]
        square.lerp_(self.value.to(x).view(1, -1, 1, 1).expand_as(square), self.blend)
        return torch.where(self.mask[rows].view(-1, 1, 1, 1), stamped, x)


def brightest(data: Data) -> Tensor:
    """The reference's trigger value (C,) in pixel units: one scalar for all normalised channels.

    It is the largest normalised pixel of the training set, so in pixel units it can exceed 1 in
    some channels (CIFAR-10: 2.1264887 normalised, which is R 1.0166, G 1.0, B 1.0028).
    """
    peak = as_float(data.train.x.amax((0, 2, 3))).cpu()  # copies nothing, however large x is
    mean, std = data.facts["mean"], data.facts["std"]
    return ((peak - mean) / std).max() * std + mean


def white(data: Data) -> Tensor:
    """The largest pixel value (C,) in every channel: BackdoorBench's trigger."""
    return torch.ones_like(data.facts["mean"])


VALUES = {"brightest": brightest, "white": white}


class Square:
    """A patch's settings: `size` in pixels, `corner`, `value` by name, `blend` in (0, 1]."""

    def __init__(self, size: int, corner: str, value: str, blend: float) -> None:
        require(size > 0, f"poison.size={size} pixels is no patch; give at least 1")
        require(0 < blend <= 1, f"poison.blend={blend} is not in (0, 1]; 1 hides what is below")
        one_of("poison.corner", corner, CORNERS)
        one_of("poison.value", value, VALUES)
        self.size, self.corner, self.value, self.blend = size, corner, value, blend

    def check(self, data: Data) -> None:
        side = min(data.train.x.shape[-2:])
        require(
            self.size <= side, f"poison.size={self.size} is larger than the images ({side} pixels)"
        )

    def stamp(self, data: Data, mask: Tensor) -> Patch:
        return Patch(mask, self.size, VALUES[self.value](data), self.corner, self.blend)
