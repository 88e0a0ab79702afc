"""Importances of every weight for known poison and rest, and what is derived from them once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from antidote.checks import Diverged, finite
from antidote.core import Loader

Weights = dict[str, Tensor]
Objective = Callable[[Tensor, Tensor], Tensor]
BLOCK = 2**19  # weights edited at a time: what is worked out for them stays in the CPU's cache


def importance(
    net: nn.Module, loader: Loader, objective: Objective, power: int, by_sample: bool
) -> Weights:
    """I(D)_j = (1/B) sum over batches b of |d ell_b / d theta_j|^power, in eval mode and float32.

    phi is applied to the gradient of the batch MEAN, so the batch size is part of the definition.
    Each batch counts alike, the last partial one too (as in the reference), unless `by_sample`
    weights it by its size. Frozen weights have importance 0. Shapes and names are those of
    `net.named_parameters()`.
    """
    was_training = net.training
    net.eval()
    total = {name: torch.zeros_like(w) for name, w in net.named_parameters()}
    learned = {name: w for name, w in net.named_parameters() if w.requires_grad}
    for x, y in tqdm(loader, desc="importances", disable=None, leave=False):
        weight = len(y) / loader.count if by_sample else 1 / len(loader)
        ell = finite(objective(net(x), y), "the importance objective")
        gradients = torch.autograd.grad(ell, list(learned.values()), allow_unused=True)
        for name, g in zip(learned, gradients, strict=True):
            if g is not None:
                total[name].add_(g.abs() if power == 1 else g.square(), alpha=weight)
    net.train(was_training)
    return {name: finite(t, f"the importance of {name}") for name, t in total.items()}


def blocks(*alike: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Views of the same rows of tensors of one shape, about BLOCK values of each at a time."""
    pieces = max(1, alike[0].numel() // BLOCK)
    return zip(*(t.chunk(pieces) for t in torch.atleast_1d(*alike)), strict=True)


@dataclass(frozen=True)
class Evidence:
    """Importances I_f (known poison) and I_r (rest), with the weights theta they were measured on.

    `frac` = n_f / N. Everything that does not depend on the cutoff is worked out once, so that an
    edit costs one comparison and two products per weight.
    """

    theta: Weights
    I_f: Weights
    I_r: Weights
    frac: float
    strength: float
    sample_gradients: int
    saved: float = 0.0

    @cached_property
    def ratios(self) -> np.ndarray:
        """All finite r_j = I_f,j / I_r,j over all layers, ascending; 0/0 and x/0 are left out."""
        every = (
            torch.cat([(self.I_f[n] / self.I_r[n]).reshape(-1) for n in self.theta]).cpu().numpy()
        )
        every.sort()  # puts inf and then NaN last
        return every[: np.searchsorted(every, np.inf)]

    @cached_property
    def factors(self) -> Weights:
        """min(lambda I_r,j / I_f,j, 1): the factor of each weight if selected (0/0 never is)."""
        return {
            n: (self.strength * self.I_r[n]).div_(self.I_f[n]).clamp_(max=1).nan_to_num_()
            for n in self.theta
        }

    @cached_property
    def infinite(self) -> int:
        """I_r = 0 < I_f: weights not in the percentile, but any cutoff sets them to 0."""
        return int(sum(((self.I_r[n] == 0) & (self.I_f[n] > 0)).sum() for n in self.theta))

    def percentile(self, p: float) -> float:
        """The p-th percentile (0..100) of the finite ratios, by linear interpolation in float64."""
        a = self.ratios
        if len(a) == 0:
            raise Diverged(
                "no weight has a finite importance ratio: the rest of the data moves no weight"
            )
        h = (len(a) - 1) * min(max(p, 0.0), 100.0) / 100
        low, high = float(a[math.floor(h)]), float(a[math.ceil(h)])
        return low + (h - math.floor(h)) * (high - low)

    @torch.no_grad()
    def edit(self, net: nn.Module, alpha: float) -> float:
        """Sets `net` to theta with all j of I_f,j > alpha I_r,j (strictly) dampened; their share.

        The edit always starts from theta, so it can be repeated with any other alpha.
        """
        spared = total = 0
        for name, w in net.named_parameters():
            alike = (w.data, self.theta[name], self.I_f[name], self.I_r[name], self.factors[name])
            for edited, theta, I_f, I_r, factor in blocks(*alike):
                spare = (alpha * I_r).ge_(I_f)  # 1.0 unless I_f > alpha I_r, then 0.0
                spared += int(spare.sum())
                # times 1 changes no bit;
                # choosing weight by weight (torch.where) takes several times as long
                torch.mul(theta, torch.maximum(spare, factor), out=edited)
            total += w.numel()
        return (total - spared) / total
