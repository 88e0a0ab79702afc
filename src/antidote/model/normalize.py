"""Normalisation as part of the net, so that everything outside works in pixel units."""

from __future__ import annotations

from torch import Tensor, nn


class Normalize(nn.Module):
    """(x - mean) / std per channel; the statistics are buffers and travel with the weights."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.float().reshape(-1, 1, 1).clone())
        self.register_buffer("std", std.float().reshape(-1, 1, 1).clone())

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std
