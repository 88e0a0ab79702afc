"""From pressure to the cutoff alpha: more pressure, smaller alpha, more weights dampened."""

from __future__ import annotations

import math
from dataclasses import dataclass

from antidote.core import require
from antidote.unlearning.evidence import Evidence


@dataclass(frozen=True)
class Percentile:
    """Adaptive SSD: alpha is the p-th percentile of finite ratios, p = 100 - ln(1 + 100 frac).

    The pressure is frac; its natural value is n_f / N, the known poison's share of the
    training set.
    """

    def natural(self, evidence: Evidence) -> float:
        return evidence.frac

    def alpha(self, evidence: Evidence, pressure: float) -> tuple[float, float | None]:
        """(alpha, p)"""
        p = 100 - math.log(1 + 100 * pressure)
        return evidence.percentile(p), p


@dataclass(frozen=True)
class Fixed:
    """SSD and LFSSD: alpha set by hand, divided by the pressure, whose natural value is 1."""

    value: float

    def __post_init__(self) -> None:
        require(self.value > 0, f"alpha={self.value} must be positive; SSD's authors use 10")

    def natural(self, evidence: Evidence) -> float:
        return 1.0

    def alpha(self, evidence: Evidence, pressure: float) -> tuple[float, float | None]:
        return self.value / pressure, None
