"""Random crop and flip of a whole batch at once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from antidote.core import require


class CropFlip:
    """Random crops and flips.

    Zero-pads by `padding` pixels, crops back at a random place, flips left-right
    with probability `flip`.
    """

    def __init__(self, padding: int, flip: float) -> None:
        require(
            padding >= 0, f"dataset.augment.padding={padding} pixels is negative; 0 crops nothing"
        )
        require(0 <= flip <= 1, f"dataset.augment.flip={flip} is not a probability in [0, 1]")
        self.padding, self.flip = padding, flip

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Offsets dy, dx (n,) in 0..2*padding and flips (n,) bool, on the CPU."""
        high = 2 * self.padding + 1
        dy, dx = torch.randint(high, (2, n), generator=generator)
        return dy, dx, torch.rand(n, generator=generator) < self.flip

    def apply(self, x: Tensor, dy: Tensor, dx: Tensor, flip: Tensor) -> Tensor:
        """Images (n, C, H, W) cropped at (dy, dx) of the padded image, flipped where `flip`."""
        n, _, height, width = x.shape
        padded = F.pad(x, [self.padding] * 4)
        windows = padded.unfold(2, height, 1).unfold(
            3, width, 1
        )  # a view: (n, C, places, places, H, W)
        cropped = windows[torch.arange(n, device=x.device), :, dy.to(x.device), dx.to(x.device)]
        return torch.where(flip.to(x.device).view(n, 1, 1, 1), cropped.flip(-1), cropped)

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return self.apply(x, *self.draw(len(x), generator))
