"""The ResNet-9 of Potion and the Corrective Unlearning benchmark, with a width."""

from __future__ import annotations

from torch import Tensor, nn

from antidote.core import require
from antidote.model.celu import CELU
from antidote.model.normalize import Normalize


def block(i: int, o: int, k: int = 3, s: int = 1, p: int = 1) -> nn.Sequential:
    """Convolution with bias, batch norm, CELU(0.075)."""
    return nn.Sequential(nn.Conv2d(i, o, k, s, p), nn.BatchNorm2d(o), CELU(0.075))


class Residual(nn.Module):
    """x + two blocks of x; no activation after the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(block(width, width), block(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class ResNet9(nn.Module):
    """Images (n, C, H, W) in 0..1, H and W at least 11, to logits (n, num_classes).

    `width` scales every channel count; 1.0 is the reference: 2,276,224 parameters for 3 channels
    and 10 classes. All convolution biases start at 0. Normalisation is part of the net.
    """

    def __init__(self, num_classes: int, mean: Tensor, std: Tensor, width: float = 1.0) -> None:
        super().__init__()
        require(width > 0, f"model.net.width={width} must be positive; 1.0 is the papers' net")
        a, b, c = (max(1, round(width * full)) for full in (64, 128, 256))
        self.normalize = Normalize(mean, std)
        self.conv1 = block(len(mean), a)
        self.conv2 = block(a, b, k=5, s=2, p=2)
        self.res1 = Residual(b)
        self.conv3 = nn.Sequential(block(b, c), nn.MaxPool2d(2))
        self.res2 = Residual(c)
        self.conv4 = nn.Sequential(block(c, b, p=0), nn.AdaptiveMaxPool2d(1), nn.Flatten())
        self.fc = nn.Linear(b, num_classes, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def stages(self) -> list[tuple[nn.Module, int]]:
        """The parts in forward order, each with its number of weight layers."""
        front = [(self.conv1, 1), (self.conv2, 1), (self.res1, 2), (self.conv3, 1)]
        return [*front, (self.res2, 2), (self.conv4, 1), (self.fc, 1)]

    def forward(self, x: Tensor) -> Tensor:
        x = self.normalize(x)
        x = self.res1(self.conv2(self.conv1(x)))
        x = self.res2(self.conv3(x))
        return self.fc(self.conv4(x))
