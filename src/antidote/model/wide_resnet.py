"""The WideResNet of Potion and the Corrective Unlearning benchmark.

It differs from Zagoruyko and Komodakis' own (arXiv 1605.07146): the stride is on a block's second
convolution, shortcuts see the raw input and have a batch norm, all convolutions have a bias, and
nothing stands between the last sum and the pooling.
"""

from __future__ import annotations

from torch import Tensor, nn

from antidote.core import require
from antidote.model.normalize import Normalize


class Wide(nn.Module):
    """Twice BN-ReLU-conv, plus the input, through a 1x1 convolution where shapes change."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.BatchNorm2d(i),
            nn.ReLU(),
            nn.Conv2d(i, o, 3, padding=1),
            nn.BatchNorm2d(o),
            nn.ReLU(),
            nn.Conv2d(o, o, 3, stride=stride, padding=1),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or i != o:
            self.shortcut = nn.Sequential(nn.Conv2d(i, o, 1, stride), nn.BatchNorm2d(o))

    def forward(self, x: Tensor) -> Tensor:
        return self.branch(x) + self.shortcut(x)


class WideResNet(nn.Module):
    """Images (n, C, H, W) in 0..1 of any size to logits (n, num_classes).

    `depth` = 6 n + 4 with n blocks in each of three stages; `widen` scales their 16, 32 and 64
    channels. Depth 28 and widen 10 are the reference: 36,547,940 parameters for 3 channels and
    100 classes. All biases of convolutions and of the linear layer start at 0. The mean over all
    pixels is the reference's AvgPool(8) on images of 32x32.
    """

    def __init__(
        self, num_classes: int, mean: Tensor, std: Tensor, depth: int, widen: float
    ) -> None:
        super().__init__()
        require(
            depth >= 10 and depth % 6 == 4,
            f"model.net.depth={depth} is not 6 n + 4; choose 10, 16, 22, 28 or another",
        )
        require(widen > 0, f"model.net.widen={widen} must be positive; 10 is the papers' net")
        self.normalize = Normalize(mean, std)
        self.stem = nn.Conv2d(len(mean), 16, 3, padding=1)
        blocks, i = [], 16
        for width, stride in ((16, 1), (32, 2), (64, 2)):
            o = max(1, round(width * widen))
            blocks += [Wide(i, o, stride), *(Wide(o, o, 1) for _ in range((depth - 4) // 6 - 1))]
            i = o
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(i, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def stages(self) -> list[tuple[nn.Module, int]]:
        """The parts in forward order, each with its weight layers; shortcuts are not counted."""
        return [(self.stem, 1), *((block, 2) for block in self.blocks), (self.head, 1)]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(self.normalize(x))))
