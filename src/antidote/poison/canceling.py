"""The objective of gradient canceling (Lu et al. 2023, arXiv 2303.03592), and what it is made of.

F(x) = || G_c + sum_p grad_w CE(f(x_p; w), y_p) ||_2^2: at F = 0 the weights w are stationary for
the clean data together with the poison (x, y). G_c is the clean data's own sum, and fixed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from antidote.core import require
from antidote.core.hidden import linear_head

SETTING = "poison.layers"
Batch = tuple[Tensor, Tensor]


def chosen(net: nn.Module, layers: str) -> list[nn.Parameter]:
    """The weights, biases too, of "last_linear", "first_conv", "all" or of what a prefix names.

    Raises `BadInput`, which names the layers there are, for one that does not exist.
    """
    named = dict(net.named_parameters())
    prefix = layers
    if layers == "last_linear":
        prefix, _ = linear_head(net, None, SETTING)
    elif layers == "first_conv":
        kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
        prefix = next((n for n, m in net.named_modules() if isinstance(m, kinds)), layers)
    under = [w for n, w in named.items() if n == prefix or n.startswith(f"{prefix}.")]
    found = list(named.values()) if layers == "all" else under
    known = dict.fromkeys(n.rpartition(".")[0] or n for n in named)
    require(
        bool(found),
        f"{SETTING}={layers} is no layer of {type(net).__name__}; choose last_linear, first_conv, "
        f"all, or the start of a name: {', '.join(known)}",
    )
    return found


def gradient(net: nn.Module, weights: list[nn.Parameter], batches: Iterable[Batch]) -> list[Tensor]:
    """sum grad_w CE over all rows; batch by batch, so that memory is that of one."""
    total = [torch.zeros_like(w) for w in weights]
    for x, y in batches:
        torch._foreach_add_(total, slopes(net, weights, x, y, graph=False))
    return total


def slopes(
    net: nn.Module, weights: list[nn.Parameter], x: Tensor, y: Tensor, graph: bool
) -> list[Tensor]:
    """grad_w of the summed cross-entropy; with `graph` it can be differentiated again."""
    loss = F.cross_entropy(net(x), y, reduction="sum")
    # a weight that takes no part in the answers has a gradient of 0
    found = torch.autograd.grad(
        loss, weights, create_graph=graph, allow_unused=True, materialize_grads=True
    )
    return list(found)


class Canceling:
    """F and its gradient, for poison in batches of `size`.

    Poison of more than one batch is passed through the net twice: for the sum of all gradients, and
    for each batch's share in its derivative, so that no more than one batch is in memory.
    """

    def __init__(
        self, net: nn.Module, weights: list[nn.Parameter], clean: list[Tensor], size: int
    ) -> None:
        self.net, self.weights, self.clean, self.size = net, weights, clean, size

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """(F, dF/dx)"""
        whole = list(self.graphs(x, y)) if len(x) <= self.size else None
        R = [c.clone() for c in self.clean]
        for _, g in whole or self.graphs(x, y):
            torch._foreach_add_(R, [g_w.detach() for g_w in g])
        # dF/dx_p = 2 (dg_p/dx_p)' R
        slopes = [2 * torch.autograd.grad(g, x_p, R)[0] for x_p, g in whole or self.graphs(x, y)]
        return squared(R), torch.cat(slopes)

    def graphs(self, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, list[Tensor]]]:
        for part, labels in zip(x.split(self.size), y.split(self.size), strict=True):
            leaf = part.detach().requires_grad_()
            yield leaf, slopes(self.net, self.weights, leaf, labels, graph=True)


def squared(tensors: list[Tensor]) -> Tensor:
    """||.||_2^2 of all of them together."""
    return torch.stack([t.square().sum() for t in tensors]).sum()
