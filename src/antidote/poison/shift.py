"""Crop and flip of a whole batch that let gradients through, for poison that is crafted by them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from antidote.core import require


@dataclass(frozen=True)
class Shift:
    """Moves each image by up to `pixels` along both axes, flips it with probability `flip`.

    Moves are continuous, read out bilinearly, and bring in zeros (Geiping et al. 2021).
    """

    pixels: float
    flip: float

    def __post_init__(self) -> None:
        require(
            self.pixels >= 0, f"poison.shift={self.pixels} pixels is negative; 0 moves no image"
        )
        require(0 <= self.flip <= 1, f"poison.flip={self.flip} is not a probability in [0, 1]")

    def __call__(self, x: Tensor, coin: torch.Generator) -> Tensor:
        return moved(x, *(t.to(x) for t in self.draw(len(x), coin)))

    def draw(self, n: int, coin: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """dy, dx (n,) in pixels, and the direction (n,) in which rows are read: 1, or -1."""
        dy, dx = (2 * torch.rand(2, n, generator=coin) - 1) * self.pixels
        return dy, dx, 1 - 2 * (torch.rand(n, generator=coin) < self.flip).float()


def moved(x: Tensor, dy: Tensor, dx: Tensor, way: Tensor) -> Tensor:
    """Output pixel (i, j) of an image is its input's pixel (i + dy, way j + dx), j from the middle.

    x (n, C, H, W); dy, dx, way (n,).
    """
    height, width = x.shape[-2:]
    zero = torch.zeros_like(dy)
    # the grid's unit is half an image, from the middle of the first pixel to that of the last
    tx, ty = 2 * dx / max(width - 1, 1), 2 * dy / max(height - 1, 1)
    theta = torch.stack([way, zero, tx, zero, zero + 1, ty], 1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=True)
    return F.grid_sample(x, grid, padding_mode="zeros", align_corners=True)
