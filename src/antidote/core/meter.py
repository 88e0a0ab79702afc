"""What a defence takes: the samples that nets see while it works. Imports torch only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

FORWARD = 1 / 3  # of a sample gradient: a backward pass costs about two forward ones


class Count:
    """`gradients`: samples whose answer can be differentiated; `forwards`: the others."""

    def __init__(self) -> None:
        self.gradients = self.forwards = 0


class Meter:
    """Counts what the nets that it watches see; copies of a watched net are watched too."""

    def __init__(self) -> None:
        self.count = Count()

    def watch(self, net: nn.Module) -> nn.Module:
        self.leave(net)  # a copy of a watched net would be counted twice
        net.register_forward_hook(self)
        return net

    def leave(self, net: nn.Module) -> None:
        for key in [k for k, hook in net._forward_hooks.items() if hook is self]:
            del net._forward_hooks[key]

    @contextmanager
    def aside(self) -> Iterator[Count]:
        """What nets see in this block is counted apart."""
        mine, self.count = self.count, Count()
        try:
            yield self.count
        finally:
            self.count = mine

    def __call__(self, net: nn.Module, args: tuple[Tensor, ...], answer: Any) -> None:
        if answer.requires_grad:
            self.count.gradients += len(args[0])
        else:
            self.count.forwards += len(args[0])

    def __deepcopy__(self, memo: Any) -> Meter:
        return self


def compute(gradients: float, forwards: float) -> float:
    """Both in sample gradients."""
    return gradients + FORWARD * forwards
