"""What becomes of single test images that an attack is after."""

from __future__ import annotations

from math import sqrt

from torch import Tensor, nn

from antidote.core import Loader, answers


def wilson(k: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Bounds of a share of which k of n are seen (Wilson 1927): 95 % for this z."""
    p, d = k / n, 1 + z * z / n
    middle, half = (p + z * z / (2 * n)) / d, z / d * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # 0 and 1 are their own bounds, which floats miss by a hair
    return max(middle - half, 0.0) if k else 0.0, min(middle + half, 1.0) if k < n else 1.0


class Outcomes:
    """Three outcomes of targets with an `intended` class each, given in the loader's order.

    `intended`, `true`, `other`: shares, which sum to 1; `intended_low`, `intended_high`: Wilson's
    95 % bounds. `intended/k`, `true/k`: the k-th target, 0 or 1, so that runs can be pooled.
    """

    def __init__(self, intended: Tensor) -> None:
        self.intended = intended

    def __call__(self, net: nn.Module, loader: Loader) -> dict[str, float]:
        predicted, truth = answers(net, loader)
        hit, right = (predicted == self.intended).tolist(), (predicted == truth).tolist()
        n, hits = len(hit), sum(hit)
        low, high = wilson(hits, n)
        return {
            "intended": hits / n,
            "true": sum(right) / n,
            "other": (n - hits - sum(right)) / n,
            "intended_low": low,
            "intended_high": high,
            **{f"intended/{k}": float(value) for k, value in enumerate(hit)},
            **{f"true/{k}": float(value) for k, value in enumerate(right)},
        }
