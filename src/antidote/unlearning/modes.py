"""What of a net learns, and in which mode, for the time of a fit or of a step."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def frozen(net: nn.Module) -> nn.Module:
    """A copy that answers and never learns."""
    return copy.deepcopy(net).eval().requires_grad_(False)


@contextmanager
def relearning(net: nn.Module) -> Iterator[None]:
    """Weights that learn before the block learn after it, however it ends."""
    learned = [w for w in net.parameters() if w.requires_grad]
    try:
        yield
    finally:
        for w in learned:
            w.requires_grad_(True)


@contextmanager
def alone(net: nn.Module) -> Iterator[None]:
    """Batch norm evaluates where training mode would refuse: one value per channel."""
    switched: list[nn.Module] = []

    def look(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if module.training and args[0].numel() == args[0].shape[1]:
            module.training = False
            switched.append(module)

    norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    hooks = [module.register_forward_pre_hook(look) for module in norms]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module in switched:
            module.training = True
