"""What healing means: verdicts that attacks hand over with their probes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from antidote.core import Verdict
from antidote.metrics.gus import THRESHOLD

LEAST = 0.01  # accuracy an attack must have taken; a share of less is noise, of any size
Measured = Mapping[str, float]
Scores = dict[str, float | None]


@dataclass(frozen=True)
class Recovery(Verdict):
    """For attacks that lower an accuracy; all four are names of what the probes measure.

    `harmed`, A: the accuracy that the attack lowers. `intact`, C: the one it leaves alone, the
    model's use. Both must count the same classes, or a full recovery is no 1. `success`, S: the
    share of answers the attacker wants. `seen`: accuracy on all manipulated training samples.
    """

    harmed: str
    intact: str
    success: str
    seen: str

    def __call__(
        self, before: Measured, after: Measured, ceiling: Measured | None = None
    ) -> Scores:
        """Shares, none of them clipped; None where a denominator has no meaning.

        healed = (A(after) - A(before)) / (C(before) - A(before)), None if the attack took less than
        `LEAST`; residual = 1 - healed; healed_rel = A(after) / C(before);
        healed_asr = 1 - S(after) / S(before); healed_raw = A(after);
        healed_train = the accuracy `seen` after (what Potion's first author calls healed in the
        next paper, arXiv 2505.17730); accuracy_drop = C(before) - C(after).
        With a net that never saw the poison, recovered = (A(after) - A(before)) / (A(ceiling) -
        A(before)), beside that net's own A, C and S.
        """
        A, C, S = ((before[m], after[m]) for m in (self.harmed, self.intact, self.success))
        taken = C[0] - A[0]
        healed = (A[1] - A[0]) / taken if taken > LEAST - 1e-9 else None
        return {
            "healed": healed,
            "residual": None if healed is None else 1 - healed,
            "healed_rel": A[1] / C[0] if C[0] else None,
            "healed_asr": (S[0] - S[1]) / S[0] if S[0] else None,
            "healed_raw": A[1],
            "healed_train": after[self.seen],
            "accuracy_drop": C[0] - C[1],
            "clean_accuracy_before": C[0],
            "clean_accuracy": C[1],
            "harmed_accuracy_before": A[0],
            "harmed_accuracy": A[1],
            "attack_success_before": S[0],
            "attack_success": S[1],
            **({} if ceiling is None else self.beside(A, ceiling)),
        }

    def beside(self, A: tuple[float, float], ceiling: Measured) -> Scores:
        best = ceiling[self.harmed]
        return {
            "recovered": (A[1] - A[0]) / (best - A[0]) if best - A[0] > LEAST - 1e-9 else None,
            "clean_accuracy_ceiling": ceiling[self.intact],
            "harmed_accuracy_ceiling": best,
            "attack_success_floor": ceiling[self.success],
        }


@dataclass(frozen=True)
class Residual(Verdict):
    """For poison that only a statistic can see, which is 0 without poison; names of measures.

    `statistic`, T: more is more poison; `control`: the same of what the net cannot know; both are
    means of `n` values of variance 1. `intact`, C: the model's use. `told`: further columns.
    """

    statistic: str
    control: str
    n: str
    intact: str
    told: Mapping[str, str] = field(default_factory=dict)

    def __call__(
        self, before: Measured, after: Measured, ceiling: Measured | None = None
    ) -> Scores:
        """residual = T(after) / T(before), healed = 1 - residual; accuracy_drop as elsewhere.

        Both None where T(before) cannot be told from its control: no poison is detectable, so none
        can be healed. recovered = (T(before) - T(after)) / (T(before) - T(ceiling)).
        """
        T = before[self.statistic], after[self.statistic]
        C = before[self.intact], after[self.intact]
        found = self.detectable(before)
        residual = T[1] / T[0] if found else None
        scores: Scores = {
            "healed": None if residual is None else 1 - residual,
            "residual": residual,
            "accuracy_drop": C[0] - C[1],
            "clean_accuracy_before": C[0],
            "clean_accuracy": C[1],
            **{f"{column}_before": before[name] for column, name in self.told.items()},
            **{column: after[name] for column, name in self.told.items()},
        }
        if ceiling is None:
            return scores
        gap = T[0] - ceiling[self.statistic]
        best = {f"{column}_ceiling": ceiling[name] for column, name in self.told.items()}
        there = found and self.apart(gap, before)
        recovered = {"recovered": (T[0] - T[1]) / gap if there else None}
        return scores | recovered | {"clean_accuracy_ceiling": ceiling[self.intact]} | best

    def detectable(self, before: Measured) -> bool:
        """One-sided at 1 %, from 0, its mean without poison, and from the control."""
        T, n = before[self.statistic], before[self.n]
        above = math.sqrt(n) * T > THRESHOLD
        return above and self.apart(T - before[self.control], before)

    def apart(self, difference: float, before: Measured) -> bool:
        """Of two means of n values each, whose difference has variance 2 / n."""
        return math.sqrt(before[self.n] / 2) * difference > THRESHOLD


@dataclass(frozen=True)
class Untouched(Verdict):
    """Where no attack of ours took place, only the price can be told."""

    intact: str

    def __call__(
        self, before: Measured, after: Measured, ceiling: Measured | None = None
    ) -> Scores:
        C = before[self.intact], after[self.intact]
        return {
            "healed": None,
            "accuracy_drop": C[0] - C[1],
            "clean_accuracy_before": C[0],
            "clean_accuracy": C[1],
        }


def objective(scores: Mapping[str, float | None]) -> float:
    """What a sweeper maximises: healed - accuracy_drop, or the drop alone where healed is none."""
    healed, drop = scores["healed"], scores["accuracy_drop"]
    return (healed or 0.0) - (drop or 0.0)


@dataclass(frozen=True)
class Targeted(Verdict):
    """For attacks on `count` single test images, the targets; names of what the probes measure.

    `success`, S: the share of targets that get the class intended for them. `true`, A: the share
    that gets its own. `intact`, C: the accuracy on all other test images.
    """

    success: str
    true: str
    intact: str
    count: int

    def __call__(
        self, before: Measured, after: Measured, ceiling: Measured | None = None
    ) -> Scores:
        """Shares, none of them clipped; None where the attack did not succeed: nothing can heal.

        residual = S(after) / S(before); healed = 1 - residual; healed_raw = A(after). With a net
        that never saw the poison, recovered = (S(before) - S(after)) / (S(before) - S(ceiling)).
        """
        A, C, S = ((before[m], after[m]) for m in (self.true, self.intact, self.success))
        residual = S[1] / S[0] if S[0] else None
        healed = None if residual is None else 1 - residual
        return {
            "healed": healed,
            "healed_asr": healed,
            "healed_raw": A[1],
            "residual": residual,
            "accuracy_drop": C[0] - C[1],
            "clean_accuracy_before": C[0],
            "clean_accuracy": C[1],
            "harmed_accuracy_before": A[0],
            "harmed_accuracy": A[1],
            "attack_success_before": S[0],
            "attack_success": S[1],
            "n_targets": float(self.count),
            **({} if ceiling is None else self.beside(S, ceiling)),
        }

    def beside(self, S: tuple[float, float], ceiling: Measured) -> Scores:
        floor = ceiling[self.success]
        return {
            "recovered": (S[0] - S[1]) / (S[0] - floor) if S[0] > floor else None,
            "clean_accuracy_ceiling": ceiling[self.intact],
            "harmed_accuracy_ceiling": ceiling[self.true],
            "attack_success_floor": floor,
        }


@dataclass(frozen=True)
class Regained(Verdict):
    """For attacks that lower the accuracy itself, A: what a net would have without is measured."""

    accuracy: str
    needs_ceiling: ClassVar[bool] = True

    def __call__(
        self, before: Measured, after: Measured, ceiling: Measured | None = None
    ) -> Scores:
        """Shares, none of them clipped; None where a denominator has no meaning.

        healed = recovered = (A(after) - A(before)) / (A(ceiling) - A(before)), None without a net
        that never saw the poison, or if the attack took less than `LEAST`; residual = 1 - healed;
        accuracy_drop = A(before) - A(after), negative where it heals.
        """
        A = before[self.accuracy], after[self.accuracy]
        healed = None if ceiling is None else self.share(A, ceiling[self.accuracy])
        return {
            "healed": healed,
            "residual": None if healed is None else 1 - healed,
            "accuracy_drop": A[0] - A[1],
            "clean_accuracy_before": A[0],
            "clean_accuracy": A[1],
            "harmed_accuracy_before": A[0],
            "harmed_accuracy": A[1],
            **({} if ceiling is None else self.beside(healed, ceiling)),
        }

    def share(self, A: tuple[float, float], best: float) -> float | None:
        return (A[1] - A[0]) / (best - A[0]) if best - A[0] > LEAST - 1e-9 else None

    def beside(self, healed: float | None, ceiling: Measured) -> Scores:
        best = ceiling[self.accuracy]
        return {
            "recovered": healed,
            "clean_accuracy_ceiling": best,
            "harmed_accuracy_ceiling": best,
        }
