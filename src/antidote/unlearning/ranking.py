"""Two importances of every weight, and their ratios ranked from the top as far as anybody asks."""

from __future__ import annotations

import math
import sys

import numpy as np
import torch
from torch import Tensor

from antidote.core import Diverged, require

LARGEST, SMALLEST = torch.finfo(torch.float32).max, torch.finfo(torch.float32).tiny
LOW = 0 if sys.byteorder == "little" else 1


def on_host(t: Tensor) -> bool:
    """numpy sorts several times as fast as torch does, but on the host only."""
    return t.device.type == "cpu"


def ascending(keys: Tensor) -> Tensor:
    """Integers (n,), sorted; in place on a CPU."""
    if not on_host(keys):
        return keys.sort().values
    keys.numpy().sort()
    return keys


def as_float32(alpha: float) -> float:
    """As tensors round it, but finite: infinity times 0 is no number."""
    return float(np.float32(min(alpha, LARGEST)))


def halves(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Views (n,) int32 of the lower and the upper half of each int64."""
    pairs = keys.view(torch.int32).view(-1, 2)
    return pairs[:, LOW], pairs[:, 1 - LOW]


def selected(I_f: Tensor, I_r: Tensor, alpha: float) -> Tensor:
    """Which weights an edit dampens: strictly, and as float32 has it."""
    return I_f > alpha * I_r


class Ranking:
    """All weights in one row, by r_j = I_f,j / I_r,j in float32; 0/0 is none, x/0 is infinite.

    Searches stay at the upper end, so no more of it is ranked than they need.
    """

    def __init__(self, I_f: Tensor, I_r: Tensor) -> None:
        require(len(I_f) < 2**31, f"{len(I_f)} weights are more than an edit can number (2^31)")
        self.I_f, self.I_r = I_f, I_r
        self.clear()
        r = self.ratios()
        counts = [
            (r >= 0).count_nonzero(),  # on a CPU a sum of bools takes 25 times as long
            (r == math.inf).count_nonzero(),
            ((I_r == 0) & (I_f > 0)).count_nonzero(),
            ((I_f > 0) & (I_f < SMALLEST)).count_nonzero(),
        ]
        self.defined, self.endless, self.infinite, denormal = torch.stack(counts).tolist()
        # Rounding is monotone: r < alpha implies I_f <= alpha I_r as floats, never the other way
        # round. Above alpha the product may still be rounded up to I_f: by half of the last place
        # of a normal float, by half of all of a denormal one.
        self.doubt = 2.0 if denormal else 1 + 2.0**-21

    def clear(self) -> None:
        # ascending: on the host, since each try looks there, and where the importances are
        self.values = np.empty(0, np.float32)
        self.order = torch.empty(0, dtype=torch.int32, device=self.I_f.device)

    def ratios(self) -> Tensor:
        """r, with -1 for 0/0."""
        return (self.I_f / self.I_r).nan_to_num_(nan=-1.0, posinf=math.inf)

    def reach(self, count: int) -> None:
        """Ranks at least the `count` largest, and all that equal the last of them."""
        ranked, n = len(self.values), len(self.I_f)
        if count <= ranked:
            return
        self.clear()  # before memory is taken for more
        r, edge = self.ratios(), 0.0
        # to go on little by little would cost more than to sort too much; a GPU sorts all at once
        count = max(count, n // 8, 4 * ranked)
        if count < self.defined and on_host(r):
            edge = float(np.partition(r.numpy(), n - count)[n - count])
        keys = (r >= edge).nonzero().squeeze(1)
        bits = r[keys].view(torch.int32)  # ordered like the floats: none of them is negative
        del r
        low, high = halves(keys)
        high.copy_(bits)
        del bits
        low, high = halves(ascending(keys))
        self.values, self.order = high.clone().view(torch.float32).cpu().numpy(), low.clone()

    def percentile(self, p: float) -> float:
        """The p-th percentile (0..100) of the finite ratios, by linear interpolation in float64."""
        finite = self.defined - self.endless
        if finite == 0:
            raise Diverged(
                "no weight has a finite importance ratio: the rest of the data moves no weight"
            )
        h = (finite - 1) * min(max(p, 0.0), 100.0) / 100
        below = math.floor(h)
        self.reach(self.defined - below)
        at = len(self.values) - (self.defined - below)
        low, high = float(self.values[at]), float(self.values[at + math.ceil(h) - below])
        return low + (h - below) * (high - low)

    def above(self, alpha: float) -> tuple[int, int]:
        """How many of the first ranks satisfy I_f > alpha I_r for sure, and how many perhaps."""
        if len(self.values) < self.defined and not (self.values[:1] <= alpha).any():
            self.reach(max(1, int((self.ratios() >= alpha).count_nonzero())))
        doubtless = alpha * self.doubt
        edge = np.float32(doubtless if doubtless <= LARGEST else np.inf)
        sure = np.searchsorted(self.values, edge, "right")
        perhaps = np.searchsorted(self.values, np.float32(alpha), "left")
        return len(self.values) - int(sure), len(self.values) - int(perhaps)

    def at(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """(I_f, I_r)"""
        return self.I_f[places], self.I_r[places]

    def ranks(self, start: int, stop: int) -> Tensor:
        """Where the weights of these ranks are; rank 0 has the largest ratio."""
        n = len(self.order)
        return self.order[n - stop : n - start]
