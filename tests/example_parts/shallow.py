"""Two layers; normalisation is part of the net."""

import torch
from torch import nn

from antidote.model.normalize import Normalize


class Shallow(nn.Module):
    """Images (n, C, H, W) in 0..1 to logits; `channels` filters."""

    def __init__(self, num_classes: int, mean: torch.Tensor, std: torch.Tensor, channels: int):
        super().__init__()
        self.normalize = Normalize(mean, std)
        self.conv = nn.Conv2d(len(mean), channels, 3, padding=1)
        self.head = nn.Linear(channels * 16, num_classes)

    def stages(self) -> list[tuple[nn.Module, int]]:
        return [(self.conv, 1), (self.head, 1)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(self.normalize(x)).relu()
        return self.head(nn.functional.adaptive_avg_pool2d(x, 4).flatten(1))
