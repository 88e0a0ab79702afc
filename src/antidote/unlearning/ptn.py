"""PTN, Potion's search for a weight editor's strength, amount of poison and clean set unknown."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from torch import nn
from tqdm import tqdm

from antidote.core import Report, Split, Victim, accuracy, require
from antidote.unlearning.evidence import Evidence

log = logging.getLogger(__name__)


class Editor(Protocol):
    def measure(self, net: nn.Module, split: Split) -> Evidence: ...
    def natural(self, evidence: Evidence) -> float: ...
    def edit(self, net: nn.Module, evidence: Evidence, pressure: float) -> dict[str, float]: ...


Good = Callable[[int], bool]


def scan(good: Good, tries: int) -> int | None:
    """The first try that is good, asked one after the other (the reference's way)."""
    return next(
        (t for t in tqdm(range(tries), desc="PTN tries", disable=None, leave=False) if good(t)),
        None,
    )


def bisect(good: Good, tries: int) -> int | None:
    """The first good try: gallop 0, 1, 3, 7, ..., then halve.

    It is the first if every try after a good one is good too.
    """
    bad, t = -1, 0
    while not good(t):
        if t == tries - 1:
            return None
        bad, t = t, min(2 * t + 1, tries - 1)
    while t - bad > 1:
        middle = (bad + t) // 2
        bad, t = (bad, middle) if good(middle) else (middle, t)
    return t


STRATEGIES = {"scan": scan, "bisect": bisect}


class PTN:
    """Raises the pressure until the known poison is no longer answered with its poisoned labels.

    A_0 is the victim's accuracy on the known poison w.r.t. its POISONED labels, A_t the accuracy
    after try t with pressure natural / start * growth^t; the first A_t <= rho A_0 is accepted.
    About 1/K of the known poison truly belongs to the target class, so rho < 1/K damages the net;
    discovery.exclude_true_target=true avoids that. If no try is accepted the last one stays, as in
    the reference, and `search.met` is false. `augment`: check on augmented images, as the reference
    does. `pressure_max`: stop there; null for no limit.
    """

    def __init__(
        self,
        method: Editor,
        rho: float,
        start: float,
        growth: float,
        max_tries: int,
        pressure_max: float | None,
        strategy: str,
        augment: bool,
        seed: int,
    ) -> None:
        require(
            0 <= rho < 1,
            f"unlearning.rho={rho} is not in [0, 1); 0.2 stops at a fifth of the first accuracy",
        )
        require(growth > 1, f"unlearning.growth={growth} must be above 1; the reference uses 1.1")
        require(
            start > 0,
            f"unlearning.start={start} must be positive; "
            "the reference starts at n_f/N divided by 25",
        )
        require(
            max_tries in range(1, 10**6),
            f"unlearning.max_tries={max_tries} must be at least 1; the reference tries 500 times",
        )
        require(
            strategy in STRATEGIES,
            f"unlearning.strategy={strategy} is unknown; choose {' or '.join(STRATEGIES)}",
        )
        self.method, self.rho, self.start, self.growth = method, rho, start, growth
        self.max_tries, self.pressure_max = max_tries, pressure_max
        self.strategy, self.augment, self.seed = strategy, augment, seed

    def pressure(self, natural: float, t: int) -> float:
        return natural / self.start * self.growth**t

    def tries(self, natural: float) -> int:
        """How many tries stay below `pressure_max`; at least one."""
        if self.pressure_max is None:
            return self.max_tries
        allowed = sum(self.pressure(natural, t) <= self.pressure_max for t in range(self.max_tries))
        return max(1, allowed)

    def unlearn(self, victim: Victim, split: Split) -> Report:
        net = victim.net
        known = split.forget.but(
            seed=self.seed, augment=split.forget.augment if self.augment else None
        )
        A_0 = accuracy(net, known)
        evidence = self.method.measure(net, split)
        natural = self.method.natural(evidence)
        steps: dict[int, dict[str, float]] = {}

        def good(t: int) -> bool:
            done = self.method.edit(net, evidence, self.pressure(natural, t))
            steps[t] = {"try": t, "known_poison_accuracy": accuracy(net, known), **done}
            return (
                steps[t]["known_poison_accuracy"] <= self.rho * A_0 + 1e-12
            )  # 7/50 is 0.2 of 35/50

        tries = self.tries(natural)
        found = STRATEGIES[self.strategy](good, tries)
        if found is None:
            log.warning(
                "PTN: none of %d tries brought the known poison to %.0f %%",
                tries,
                100 * self.rho * A_0,
            )
        stop = tries - 1 if found is None else found
        self.method.edit(net, evidence, self.pressure(natural, stop))
        search: dict[str, Any] = {
            "tries": stop + 1,
            "forwards": len(steps),
            "met": found is not None,
            "rho": self.rho,
            "start_accuracy": A_0,
            "infinite_ratios": evidence.infinite,
            **{
                k: steps[stop].get(k)
                for k in ("known_poison_accuracy", "cutoff", "percentile", "dampened")
            },
        }
        path = [steps[t] for t in sorted(steps)]
        return Report(path, evidence.sample_gradients, evidence.saved, search)
