"""Is there a tail in these scores, and where does it begin? A Gaussian tail beside a heavy bulk."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

FEWEST = 10  # values that may have a tail
BINS = 1024  # EM works on a histogram: its cost does not grow with the data
ROUNDS, STILL = 100, 1e-7
LEAST = 1e-2  # a component's deviation, at least this share of all values'
SURE = 0.95  # so sure the rows must be, over all, to be a tail


@dataclass(frozen=True)
class Tail:
    """`rows` (n,) bool: more likely in the tail than in the bulk, and above it.

    `distance` of the two means, in root mean square deviations. `sure`: the mean probability of
    `rows`, less that of the others per row. `gain`: what the tail is worth, BIC without it - BIC
    with it, per value.
    """

    rows: Tensor
    gain: float = 0.0
    distance: float = 0.0
    sure: float = 0.0

    def apart(self, distance: float) -> bool:
        """Whether it is a group of its own, and not one that any class has inside."""
        return self.distance >= distance and self.sure >= SURE


def tail(values: Tensor, starts: Iterable[float | Tensor]) -> Tail:
    """Fits w_1 N(m, s_1) + w_2 N(m, s_2) + w_3 N(m_3, s_3) to `values` (n,) by EM.

    The bulk is two Gaussians of one mean, since no real one is a single Gaussian: a tail would be
    spent on its shoulder. The third starts at each of `starts`, and the likeliest end is taken.
    BIC = k ln n - 2 ln L, with k = 4 for the bulk alone and 7 for all three.
    """
    v = values.double()
    n, nothing = len(v), torch.zeros(len(v), dtype=torch.bool, device=v.device)
    spread = v.std(correction=0)
    if n < FEWEST or not spread > 0:
        return Tail(nothing)
    z = (v - v.mean()) / spread
    middle = z.median()
    width = (1.4826 * (z - middle).abs().median()).clamp(min=0.02)
    begin = (torch.stack([torch.as_tensor(s).to(v) for s in starts]) - v.mean()) / spread
    begin = begin[begin > middle]
    if not len(begin):
        return Tail(nothing)
    at, count = histogram(z)
    m, s, w = (torch.stack([middle, middle]), torch.stack([width, 2.5 * width]), z.new_tensor(0.8))
    bulk = Em(m[None], s[None], torch.stack([w, 1 - w])[None]).fit(at, count)
    one = torch.ones_like(begin)
    both = Em(
        torch.stack([middle * one, middle * one, begin], 1),
        width * torch.stack([one, 2.5 * one, one], 1),
        torch.stack([0.75 * one, 0.2 * one, 0.05 * one], 1),
    ).fit(at, count)
    best = int(both.likelihood.argmax())
    gain = 2 * (both.likelihood[best] - bulk.likelihood[0]).item() - 3 * math.log(n) / n
    m, s, w = both.m[best], both.s[best], both.w[best]
    variance = (w[:2] * s[:2] ** 2).sum() / w[:2].sum()
    distance = ((m[2] - m[0]) / ((variance + s[2] ** 2) / 2).sqrt()).item()
    p = both.joint(z)[best].softmax(1)[:, 2]
    rows = (p > 0.5) & (z > m[0]) if distance > 0 else nothing
    if not rows.any():
        return Tail(rows, gain, distance)
    sure = (p[rows].sum() - p[~rows].sum() * p[rows].mean()) / rows.sum()
    return Tail(rows, gain, distance, max(sure.item(), 0.0))


def cut(
    rows: Tensor, scores: Tensor, start: float, distance: float
) -> tuple[Tensor, Mapping[str, float]]:
    """(the rows in the tail of the scores, if they have one; the evidence)."""
    seen = scores.isfinite()
    found = tail(scores[seen], [start])
    inside = torch.zeros_like(seen)
    inside[seen] = found.rows & found.apart(distance)
    evidence = {
        "distance": found.distance,
        "sure": found.sure,
        "gain": found.gain,
        "start": start,
        "looked_at": float(seen.sum()),
    }
    return rows[inside.to(rows.device)], evidence


def histogram(z: Tensor) -> tuple[Tensor, Tensor]:
    """(centres, counts) of the bins that are not empty."""
    low, high = z.min(), z.max()
    bins = ((z - low) / (high - low) * (BINS - 1)).round().long()
    count = torch.bincount(bins, minlength=BINS).to(z)
    at = low + (high - low) * torch.arange(BINS, dtype=z.dtype, device=z.device) / (BINS - 1)
    return at[count > 0], count[count > 0]


class Em:
    """Expectation-maximisation of S mixtures at once; components 0 and 1 share a mean.

    `m`, `s`, `w` (S, k): means, deviations, weights. `likelihood` (S,): mean log-likelihood, the
    constant left out.
    """

    def __init__(self, m: Tensor, s: Tensor, w: Tensor) -> None:
        self.m, self.s, self.w = m, s, w
        self.likelihood = torch.full((len(m),), -math.inf, dtype=m.dtype, device=m.device)

    def joint(self, z: Tensor) -> Tensor:
        """ln w_k N(z; m_k, s_k), (S, n, k)."""
        m, s, w = self.m[:, None], self.s[:, None], self.w[:, None]
        return w.log() - s.log() - 0.5 * ((z[None, :, None] - m) / s) ** 2

    def fit(self, z: Tensor, count: Tensor) -> Em:
        for _ in range(ROUNDS):
            joint = self.joint(z)
            whole = joint.logsumexp(2)
            now = (whole * count).sum(1) / count.sum()
            still = bool((now - self.likelihood).abs().max() < STILL)
            self.likelihood = now
            if still:
                break
            self.maximise(z, (joint - whole[..., None]).exp() * count[:, None])
        return self

    def maximise(self, z: Tensor, r: Tensor) -> None:
        """`r` (S, n, k): how many of the values at z each component answers for."""
        mass, z = r.sum(1).clamp(min=1e-9), z[None, :, None]
        self.w = mass / mass.sum(1, keepdim=True)
        precise = r[..., :2] / self.s[:, None, :2] ** 2
        bulk = (precise * z).sum((1, 2)) / precise.sum((1, 2))
        free = (r[..., 2:] * z).sum(1) / mass[:, 2:]
        self.m = torch.cat([bulk[:, None].expand(-1, 2), free], 1)
        self.s = ((r * (z - self.m[:, None]) ** 2).sum(1) / mass).sqrt().clamp(min=LEAST)
