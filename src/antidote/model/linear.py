"""Multinomial logistic regression on pixels: a loss that is convex in the weights."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from antidote.core import require
from antidote.model.normalize import Normalize


class Linear(nn.Module):
    """Images (n, C, H, W) in 0..1 to logits (n, num_classes), linear in the pixels.

    Images of other than `side` x `side` pixels are pooled to that, or their pixels repeated.
    """

    def __init__(self, num_classes: int, mean: Tensor, std: Tensor, side: int) -> None:
        super().__init__()
        require(side >= 1, f"model.net.side={side} must be at least 1 pixel")
        self.normalize, self.side = Normalize(mean, std), side
        self.fc = nn.Linear(len(mean) * side * side, num_classes)

    def stages(self) -> list[tuple[nn.Module, int]]:
        """Its one layer."""
        return [(self.fc, 1)]

    def forward(self, x: Tensor) -> Tensor:
        x = self.normalize(x)
        if x.shape[-2:] != (self.side, self.side):
            x = F.adaptive_avg_pool2d(x, self.side)
        return self.fc(x.flatten(1))
