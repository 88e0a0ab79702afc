"""Importances of every weight for known poison and rest, and edits by what they say."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from antidote.core import Loader, Watch, evaluating, finite
from antidote.core.precision import float32
from antidote.progress import through
from antidote.unlearning.ranking import Ranking, as_float32, ascending, selected

FLOAT32 = torch.float32
Weights = dict[str, Tensor]
Objective = Callable[[Tensor, Tensor], Tensor]


def importance(
    net: nn.Module, loader: Loader, objective: Objective, power: int, by_sample: bool
) -> Weights:
    """I(D)_j = (1/B) sum over batches b of |d ell_b / d theta_j|^power, in eval mode and float32.

    phi is applied to the gradient of the batch MEAN, so the batch size is part of the definition.
    Each batch counts alike, the last partial one too (as in the reference), unless `by_sample`
    weights it by its size. Frozen weights have importance 0. Shapes and names are those of
    `net.named_parameters()`.
    """
    total = {name: torch.zeros_like(w) for name, w in net.named_parameters()}
    learned = {name: w for name, w in net.named_parameters() if w.requires_grad}
    watch = Watch()
    with evaluating(net), float32(next(net.parameters()).device):
        for x, y in through(loader, "importances", "batches"):
            weight = len(y) / loader.count if by_sample else 1 / len(loader)
            ell = watch(objective(net(x), y), "the importance objective")
            gradients = torch.autograd.grad(ell, list(learned.values()), allow_unused=True)
            for name, g in zip(learned, gradients, strict=True):
                if g is not None:
                    total[name].add_(g.abs() if power == 1 else g.square(), alpha=weight)
    watch.close()
    return sound(total)


def sound(total: Weights) -> Weights:
    """`total`, if all of it is finite; a GPU is waited for once, not once for each tensor."""
    fine = torch.stack([torch.isfinite(t).all() for t in total.values()]).tolist()
    for name in (name for name, good in zip(total, fine, strict=True) if not good):
        finite(total[name], f"the importance of {name}")
    return total


def row(tensors: Iterable[Tensor], device: torch.device, dtype: torch.dtype) -> Tensor:
    """A copy of all their values, one after the other."""
    tensors = list(tensors)
    sizes = [t.numel() for t in tensors]
    flat = torch.empty(sum(sizes), dtype=dtype, device=device)
    for part, t in zip(flat.split(sizes), tensors, strict=True):
        part.view(t.shape).copy_(t)
    return flat


def put(w: Tensor, places: Tensor, values: Tensor) -> None:
    """w[places] = values, w taken as one row whatever its memory layout."""
    if w.is_contiguous():
        w.view(-1)[places] = values.to(w.dtype)
        return
    index: list[Tensor] = []
    for size in reversed(w.shape):  # torch.unravel_index would make a GPU wait
        index.insert(0, places % size)
        places = places // size
    w[tuple(index)] = values.to(w.dtype)


@dataclass(eq=False)
class Evidence:
    """What one measurement found: the weights theta (n,) it was made on, and their importances.

    `frac` = n_f / N. An edit touches only what the edit before left otherwise, so between two edits
    of a net nobody else may write into its weights.
    """

    theta: Tensor
    ranking: Ranking
    frac: float
    strength: float
    sample_gradients: int
    saved: float = 0.0
    # the net edited last: its weights of the first so many ranks are dampened, of the second
    # perhaps, all others are as in theta; and where each of its tensors ends in theta
    net: nn.Module | None = field(default=None, init=False, repr=False)
    edited: tuple[int, int] = field(default=(0, 0), init=False, repr=False)
    ends: Tensor = field(default_factory=lambda: torch.empty(0), init=False, repr=False)

    @classmethod
    @torch.no_grad()
    def of(cls, net: nn.Module, I_f: Weights, I_r: Weights, **facts: Any) -> Evidence:
        """From importances by the names of the net's weights; `facts`: the numbers."""
        named = dict(net.named_parameters())
        where = next(net.parameters()).device
        wide = functools.reduce(torch.promote_types, (w.dtype for w in named.values()), FLOAT32)
        ranking = Ranking(*(row([t[n] for n in named], where, FLOAT32) for t in (I_f, I_r)))
        return cls(row(named.values(), where, wide), ranking, **facts)

    @property
    def infinite(self) -> int:
        """I_r = 0 < I_f: weights not in the percentile, but any cutoff sets them to 0."""
        return self.ranking.infinite

    def percentile(self, p: float) -> float:
        """The p-th percentile (0..100) of the finite ratios, by linear interpolation in float64."""
        return self.ranking.percentile(p)

    @torch.no_grad()
    def edit(self, net: nn.Module, alpha: float) -> float:
        """Sets `net` to theta with all j of I_f,j > alpha I_r,j (strictly) dampened; their share.

        The result is that of a first edit of theta, whatever edits went before.
        """
        alpha = as_float32(alpha)
        if net is not self.net:
            self.restore(net)
        sure, perhaps = self.ranking.above(alpha)
        changed = self.ranking.ranks(min(sure, self.edited[0]), max(perhaps, self.edited[1]))
        changed = ascending(changed.clone())
        doubtful = self.ranking.at(self.ranking.ranks(sure, perhaps))
        more = selected(*doubtful, alpha).count_nonzero()
        cuts = torch.searchsorted(changed, self.ends)
        *stops, count = torch.cat([cuts, more[None]]).tolist()  # the one wait for a GPU
        first = start = 0
        for w, stop in zip(net.parameters(), stops, strict=True):
            if stop > start:
                places = changed[start:stop]
                put(w.detach(), places - first, self.dampened(places, alpha))
            first, start = first + w.numel(), stop
        self.edited = sure, perhaps
        torch.clear_autocast_cache()  # else the caller's autocast goes on with the weights before
        return (sure + count) / len(self.theta)

    def restore(self, net: nn.Module) -> None:
        """Takes on a net: theta in all its weights."""
        sizes = [w.numel() for w in net.parameters()]
        for w, theta in zip(net.parameters(), self.theta.split(sizes), strict=True):
            w.copy_(theta.view(w.shape))
        self.net, self.edited = net, (0, 0)
        ends = torch.tensor(sizes).cumsum(0, dtype=torch.int32)  # as places are
        self.ends = ends.to(self.theta.device)

    def dampened(self, places: Tensor, alpha: float) -> Tensor:
        """theta_j min(lambda I_r,j / I_f,j, 1) where selected, else theta_j."""
        I_f, I_r = self.ranking.at(places)
        factor = (self.strength * I_r).div_(I_f).clamp_(max=1)
        return self.theta[places] * torch.where(selected(I_f, I_r, alpha), factor, 1.0)
