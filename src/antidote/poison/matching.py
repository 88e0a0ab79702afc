"""Images whose gradient is that of a lie (Geiping et al. 2021, arXiv 2009.02276, algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from antidote.core import finite, one_of, require
from antidote.core.precision import float32
from antidote.poison.shift import Shift
from antidote.progress import through

MATCHES = ("per_batch", "full")
BETA = 0.9, 0.999  # Adam's
FALLS = (3, 5, 7)  # eighths of the steps after which a step is a tenth: the reference's schedule


@contextmanager
def crafting(net: nn.Module) -> Iterator[None]:
    """float32, gradients on and of all weights; afterwards the net asks for those it asked for."""
    asked = [(weight, weight.requires_grad) for weight in net.parameters()]
    try:
        with float32(asked[0][0].device), torch.enable_grad():
            net.requires_grad_(True)
            yield
    finally:
        for weight, before in asked:
            weight.requires_grad_(before)


def gradient(net: nn.Module, x: Tensor, y: Tensor, graph: bool = False) -> Tensor:
    """(P,) of the summed cross-entropy by all weights; with `graph` it can be derived again."""
    loss = F.cross_entropy(net(x), y, reduction="sum")
    parts = torch.autograd.grad(loss, list(net.parameters()), create_graph=graph)
    return torch.cat([part.flatten() for part in parts])


def mismatch(target: Tensor, poison: Tensor) -> Tensor:
    """1 - cosine of two gradients (P,) (eq. 3): 0 for the same direction, 1 for orthogonal ones."""
    return 1 - F.cosine_similarity(target, poison, dim=0, eps=1e-12)


def matched(
    net: nn.Module, target: Tensor, x: Tensor, y: Tensor, batch: int
) -> tuple[Tensor, Tensor]:
    """(the mismatch of the gradient of all rows together, its derivative by x).

    No more than `batch` rows are in a graph at a time: the mismatch is derived by the sum of the
    parts' gradients, and the result is led back through each of these in turn.
    """
    parts = [
        (rows.detach().requires_grad_(), labels)
        for rows, labels in zip(x.split(batch), y.split(batch), strict=True)
    ]
    if len(parts) == 1:  # its graph can be kept, which spares a pass
        rows, labels = parts[0]
        g = gradient(net, rows, labels, graph=True)
        loss, v = by_gradient(target, g)
        return loss, torch.autograd.grad(g, rows, v)[0]
    total = torch.zeros_like(target)
    for part in parts:
        total += gradient(net, *part)
    loss, v = by_gradient(target, total)
    slopes = [
        torch.autograd.grad(gradient(net, rows, labels, graph=True), rows, v)[0]
        for rows, labels in parts
    ]
    return loss, torch.cat(slopes)


def by_gradient(target: Tensor, poison: Tensor) -> tuple[Tensor, Tensor]:
    """The mismatch, and its derivative by the poison's gradient."""
    g = poison.detach().requires_grad_()
    loss = mismatch(target, g)
    return loss.detach(), torch.autograd.grad(loss, g)[0]


def project(delta: Tensor, x: Tensor, eps: float) -> Tensor:
    """Inside |delta| <= eps and 0 <= x + delta <= 1, for x in 0..1."""
    return delta.clamp(-eps, eps).maximum(-x).minimum(1 - x)


class SignedAdam:
    """Adam (arXiv 1412.6980, algorithm 1) that is told the signs of a gradient only."""

    def __init__(self, like: Tensor) -> None:
        self.m, self.v, self.t = torch.zeros_like(like), torch.zeros_like(like), 0

    def __call__(self, slope: Tensor) -> Tensor:
        """The step to subtract, before the learning rate: about 1 where signs agree over time."""
        g, (b1, b2) = slope.sign(), BETA
        self.t += 1
        self.m = b1 * self.m + (1 - b1) * g
        self.v = b2 * self.v + (1 - b2) * g * g
        m, v = self.m / (1 - b1**self.t), self.v / (1 - b2**self.t)
        return m / (v.sqrt() + 1e-8)


@dataclass(frozen=True)
class Craft:
    """How poison is crafted; images are in 0..1.

    `eps`: the largest change of a pixel. `tau`: the first steps' size, in standard deviations of
    the data's pixels. `match`: the gradient of each `batch` of rows is matched on its own
    ("per_batch", the reference), or that of all of them together ("full").
    """

    eps: float
    steps: int
    tau: float
    batch: int
    match: str
    shift: Shift

    def __post_init__(self) -> None:
        require(
            0 < self.eps <= 1,
            f"poison.eps={self.eps} is not in (0, 1]; 16/255, the paper's, is 0.0627451",
        )
        require(self.steps >= 1, f"poison.steps={self.steps} crafts nothing; give at least 1")
        require(self.tau > 0, f"poison.tau={self.tau} must be positive; 0.1 is the paper's")
        require(self.batch >= 1, f"poison.batch={self.batch} must be at least 1; 512 is usual")
        one_of("poison.match", self.match, MATCHES)

    def rate(self, step: int) -> float:
        """The size of a step."""
        falls = sum(step >= self.steps * eighths // 8 for eighths in FALLS)
        return self.tau * 0.1**falls

    def __call__(
        self,
        net: nn.Module,
        target: Tensor,
        x: Tensor,
        y: Tensor,
        std: Tensor,
        coin: torch.Generator,
    ) -> Iterator[tuple[Tensor, float]]:
        """(delta (n, C, H, W) after each step, the mismatch before it).

        `target` (P,): the gradient to match. `x`, `y`: the clean rows. `std` (C,): the data's.
        """
        noise = torch.randn(x.shape, generator=coin).to(x)
        delta, adam = project(self.eps * noise, x, self.eps), SignedAdam(x)
        group = self.batch if self.match == "per_batch" else len(x)
        for step in through(range(self.steps), "one restart", "steps"):
            delta.requires_grad_()
            seen = self.shift(x + delta, coin)
            groups = zip(seen.split(group), y.split(group), strict=True)
            found = [matched(net, target, *rows, self.batch) for rows in groups]
            loss = finite(torch.stack([loss for loss, _ in found]).mean(), "the matching loss")
            (slope,) = torch.autograd.grad(seen, delta, torch.cat([slope for _, slope in found]))
            moved = delta.detach() - self.rate(step) * std.view(-1, 1, 1) * adam(slope)
            delta = project(moved, x, self.eps)
            yield delta, loss.item()
