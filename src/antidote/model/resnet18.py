"""ResNet-18 for small images: a 3x3 stem without stride or pooling."""

from __future__ import annotations

from torch import Tensor, nn

from antidote.core import require
from antidote.model.basic_block import Basic, convolution
from antidote.model.normalize import Normalize


def projected(i: int, o: int, stride: int) -> Basic:
    """A block whose shortcut is a 1x1 convolution with batch norm where shapes change."""
    if stride == 1 and i == o:
        return Basic(i, o, stride, nn.Identity())
    shortcut = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))
    return Basic(i, o, stride, shortcut)


class ResNet18(nn.Module):
    """Images (n, C, H, W) in 0..1 of any size to logits (n, num_classes).

    The net of arXiv 1512.03385, table 1, with the stem that is usual for 32x32 images. `width` is
    the number of channels of the first stage; 64 is the papers': 11,173,962 parameters for 3
    channels and 10 classes. Initial weights are torch's own.
    """

    def __init__(self, num_classes: int, mean: Tensor, std: Tensor, width: int) -> None:
        super().__init__()
        require(
            isinstance(width, int) and width >= 1,
            f"model.net.width={width} is not a number of channels; 64 is the papers' net",
        )
        self.normalize = Normalize(mean, std)
        self.stem = nn.Sequential(convolution(len(mean), width), nn.ReLU())
        blocks, i = [], width
        for o, stride in ((width, 1), (2 * width, 2), (4 * width, 2), (8 * width, 2)):
            blocks += [projected(i, o, stride), projected(o, o, 1)]
            i = o
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(i, num_classes))

    def stages(self) -> list[tuple[nn.Module, int]]:
        """The parts in forward order, each with its weight layers; shortcuts are not counted."""
        return [(self.stem, 1), *((block, 2) for block in self.blocks), (self.head, 1)]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(self.normalize(x))))
