"""What a net answers. Imports torch only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from antidote.core.data import Loader
from antidote.core.precision import float32


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards each module has its own mode back (a frozen part stays so)."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@torch.no_grad()
def answers(net: nn.Module, loader: Loader) -> tuple[Tensor, Tensor]:
    """Predicted and stored labels (n,) of a pass in evaluation mode; the net's mode is put back.

    The precision is that of the autocast the caller is in, so that a run measures all in one.
    """
    with evaluating(net):
        pairs = [(net(x).argmax(1), y) for x, y in loader]
    predicted, stored = zip(*pairs, strict=True)
    return torch.cat(predicted), torch.cat(stored)


@torch.no_grad()
def logits(
    net: nn.Module, loader: Loader, through: Callable[[Tensor], Tensor] = lambda x: x
) -> Tensor:
    """(n, K) of rows as stored, put `through` a function; evaluation mode and float32."""
    with evaluating(net), float32(next(net.parameters()).device):
        return torch.cat([net(through(x)) for x, _ in loader.with_(augment=None)])


def accuracy(net: nn.Module, loader: Loader) -> float:
    """Share of rows in 0..1 whose prediction equals the stored label."""
    predicted, stored = answers(net, loader)
    return (predicted == stored).double().mean().item()
