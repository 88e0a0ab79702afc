"""Is there a tail in these scores, and where does it begin? Two Gaussians against one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

ROUNDS, STILL = 500, 1e-10
LEAST = 1e-3  # a component's deviation, at least this share of all values'


@dataclass(frozen=True)
class Mixture:
    """Bulk and tail of n values.

    `tail` (n,) bool: more likely tail than bulk, and above the bulk. `gain`: what the second
    component is worth, BIC(one) - BIC(two) per value; `distance` of the two means, in deviations.
    """

    tail: Tensor
    gain: float
    distance: float


def mixture(values: Tensor, start: float) -> Mixture:
    """Fits w_b N(m_b, s_b) + w_t N(m_t, s_t) by EM to `values` (n,), the tail started at `start`.

    BIC = k ln n - 2 ln L, with k = 2 for one Gaussian and 5 for two.
    """
    v = values.double()
    n, spread = len(v), v.std(correction=0).item()
    if n < 3 or spread == 0 or not math.isfinite(start):
        return Mixture(torch.zeros(n, dtype=torch.bool), 0.0, 0.0)
    v = (v - v.mean()) / spread
    begin = (start - values.double().mean().item()) / spread
    bulk = v.median().item()
    width = max(1.4826 * (v - bulk).abs().median().item(), 0.05)
    m = torch.tensor([bulk, begin], dtype=torch.float64)
    s = torch.tensor([width, width], dtype=torch.float64)
    w = torch.tensor([0.95, 0.05], dtype=torch.float64)
    before = -math.inf
    for _ in range(ROUNDS):
        joint = w.log() - s.log() - 0.5 * ((v[:, None] - m) / s) ** 2
        whole = joint.logsumexp(1, keepdim=True)
        now = whole.mean().item()
        r = (joint - whole).exp()
        if abs(now - before) < STILL:
            break
        before, mass = now, r.sum(0).clamp(min=1e-12)
        w, m = mass / n, (r * v[:, None]).sum(0) / mass
        s = ((r * (v[:, None] - m) ** 2).sum(0) / mass).sqrt().clamp(min=LEAST)
    # standardised values under one Gaussian: mean log density -1/2, the common constant left out
    gain = 2 * (now + 0.5) - 3 * math.log(n) / n
    distance = ((m[1] - m[0]) / ((s**2).mean().sqrt())).item()
    above = v > m[0]
    if distance <= 0:
        return Mixture(torch.zeros(n, dtype=torch.bool), gain, distance)
    return Mixture((r[:, 1] > 0.5) & above, gain, distance)
