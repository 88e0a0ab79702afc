"""ResNet-20, 32, 44, 56, 110 and so on: arXiv 1512.03385, section 4.2."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from antidote.core import require
from antidote.model.basic_block import Basic, convolution
from antidote.model.normalize import Normalize


class Padded(nn.Module):
    """Shortcut A: every `stride`-th pixel, and `more` channels of zeros; no parameters."""

    def __init__(self, more: int, stride: int) -> None:
        super().__init__()
        self.more, self.stride = more, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))


class ResNetCifar(nn.Module):
    """Images (n, C, H, W) in 0..1 of any size to logits (n, num_classes).

    `depth` = 6 n + 2: a stem, three stages of n blocks with 16, 32 and 64 channels, and a linear
    layer. Depth 20 has 269,722 parameters for 3 channels and 10 classes. Convolutions start as in
    the paper (arXiv 1502.01852).
    """

    def __init__(self, num_classes: int, mean: Tensor, std: Tensor, depth: int) -> None:
        super().__init__()
        require(
            depth >= 8 and depth % 6 == 2,
            f"model.net.depth={depth} is not 6 n + 2; choose 20, 32, 44, 56, 110 or another",
        )
        self.normalize = Normalize(mean, std)
        self.stem = nn.Sequential(convolution(len(mean), 16), nn.ReLU())
        blocks: list[nn.Module] = []
        i = 16
        for o in (16, 32, 64):
            blocks.append(Basic(i, o, o // i, Padded(o - i, o // i)))
            blocks += [Basic(o, o, 1, nn.Identity()) for _ in range((depth - 2) // 6 - 1)]
            i = o
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(i, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def stages(self) -> list[tuple[nn.Module, int]]:
        """The parts in forward order, each with its weight layers."""
        return [(self.stem, 1), *((block, 2) for block in self.blocks), (self.head, 1)]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(self.normalize(x))))
