"""What tests of attacks by a trigger share."""

import torch

from antidote.core import Loader, as_float


def no_surrogate():
    raise AssertionError("an attack by a trigger needs no clean model")


def seen(left, rows=None, augment=None):
    """Training images as a training step sees them."""
    rows = torch.arange(len(left.train)) if rows is None else rows
    return torch.cat([x for x, _ in Loader(left.train, rows, 7, augment=augment, view=left.view)])


def shown(left, probe):
    """All images of a probe."""
    return torch.cat([x for x, _ in left.probes[probe].loader])


def others(left, rows):
    """Training rows besides these."""
    rest = torch.ones(len(left.train), dtype=torch.bool)
    rest[rows] = False
    return rest


class Says(torch.nn.Module):
    """Answers `answer(y)` where `y` are the true labels, looked up by the order of asking."""

    def __init__(self, y, answer, num_classes=4):
        super().__init__()
        self.y, self.answer, self.num_classes, self.at = y, answer, num_classes, 0

    def forward(self, x):
        y = self.y[self.at : self.at + len(x)]
        self.at = (self.at + len(x)) % len(self.y)
        return torch.nn.functional.one_hot(self.answer(y), self.num_classes).float()


def clean(data):
    return as_float(data.train.x)
