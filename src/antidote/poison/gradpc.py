"""Target parameters: gradient-based corruption, GradPC (Sun et al. 2020, arXiv 2006.05620)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from antidote.core import Loader
from antidote.poison.canceling import gradient


def corrupt(net: nn.Module, loader: Loader, eps_w: float, lr: float) -> None:
    """Moves the net's weights w, all of them, to w + a, in one pass of ascent on the loss.

    a <- a + lr g / ||g||_2 for the gradient g of each batch at w + a, then back into the ball
    ||a||_2 <= eps_w.
    """
    weights = [w for w in net.parameters() if w.requires_grad]
    start = [w.detach().clone() for w in weights]
    a = [torch.zeros_like(w) for w in start]
    for x, y in loader:
        g = gradient(net, weights, [(x, y)])
        a = projected(added(a, g, lr / norm(g).clamp_min(1e-30)), eps_w)
        with torch.no_grad():
            for w, w0, a_w in zip(weights, start, a, strict=True):
                w.copy_(w0 + a_w)


def added(a: list[Tensor], g: list[Tensor], factor: Tensor) -> list[Tensor]:
    return [a_w + factor * g_w for a_w, g_w in zip(a, g, strict=True)]


def projected(a: list[Tensor], radius: float) -> list[Tensor]:
    """Onto the ball ||a||_2 <= radius."""
    factor = (radius / norm(a).clamp_min(1e-30)).clamp(max=1)
    return [factor * a_w for a_w in a]


def norm(tensors: list[Tensor]) -> Tensor:
    """||.||_2 of all of them together."""
    return torch.stack([t.norm() for t in tensors]).norm()
