"""The basic block of residual nets, which those of 3 stages and of 4 share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def convolution(i: int, o: int, stride: int = 1) -> nn.Sequential:
    """3x3 without bias, which the batch norm behind it would cancel, and that batch norm."""
    return nn.Sequential(nn.Conv2d(i, o, 3, stride, padding=1, bias=False), nn.BatchNorm2d(o))


class Basic(nn.Module):
    """relu(shortcut(x) + conv(relu(conv(x)))), each with batch norm (arXiv 1512.03385, fig. 2)."""

    def __init__(self, i: int, o: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(convolution(i, o, stride), nn.ReLU(), convolution(o, o))
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.branch(x))
