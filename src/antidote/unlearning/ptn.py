"""PTN, Potion's search for a weight editor's strength, amount of poison and clean set unknown."""

from __future__ import annotations

import logging
from typing import Any, Protocol

from torch import nn

from antidote.answers import accuracy
from antidote.checks import require
from antidote.core import Loader, Report, Split, Victim, derive
from antidote.unlearning.evidence import Evidence
from antidote.unlearning.search import STRATEGIES, Path

log = logging.getLogger(__name__)


class Editor(Protocol):
    def signature(self) -> dict[str, Any]: ...
    def measure(self, net: nn.Module, split: Split) -> Evidence: ...
    def natural(self, evidence: Evidence) -> float: ...
    def edit(self, net: nn.Module, evidence: Evidence, pressure: float) -> dict[str, float]: ...


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

    def signature(self) -> dict[str, Any]:
        """What determines a try, besides net, data and its number: not where a search stops."""
        own = {"start": self.start, "growth": self.growth, "check": [self.augment, self.seed]}
        return {**self.method.signature(), "search": type(self), **own}

    def known(self, split: Split, look: str) -> Loader:
        """The known poison; each look draws its own augmentation, whichever came before it."""
        augment = split.forget.augment if self.augment else None
        return split.forget.but(seed=derive(self.seed, look), augment=augment)

    def unlearn(self, victim: Victim, split: Split) -> Report:
        net = victim.net
        A_0 = accuracy(net, self.known(split, "victim"))
        evidence = self.method.measure(net, split)
        natural = self.method.natural(evidence)

        def attempt(t: int) -> dict[str, float]:
            done = self.method.edit(net, evidence, self.pressure(natural, t))
            A_t = accuracy(net, self.known(split, f"try {t}"))
            return {"try": t, "known_poison_accuracy": A_t, **done}

        earlier, keep = split.record(self.signature())
        path = Path(attempt, earlier)
        limit = self.rho * A_0 + 1e-12  # 7/50 is 0.2 of 35/50
        tries = self.tries(natural)
        found = STRATEGIES[self.strategy](
            lambda t: path(t)["known_poison_accuracy"] <= limit, tries
        )
        keep(path.fresh)
        if found is None:
            log.warning(
                "PTN: none of %d tries brought the known poison to %.0f %%", tries, 100 * limit
            )
        stop = tries - 1 if found is None else found
        self.method.edit(net, evidence, self.pressure(natural, stop))
        search = self.told(path, stop, A_0)
        search |= {"met": found is not None, "infinite_ratios": evidence.infinite}
        steps = [path.asked[t] for t in sorted(path.asked)]
        return Report(steps, evidence.sample_gradients, evidence.saved + path.saved, search)

    def told(self, path: Path, stop: int, A_0: float) -> dict[str, Any]:
        """How the search went, and what the try it stopped at did."""
        figures = ("known_poison_accuracy", "cutoff", "percentile", "dampened")
        return {
            "tries": stop + 1,
            "forwards": len(path.asked),
            "looked_up": len(path.asked) - len(path.fresh),
            "rho": self.rho,
            "start_accuracy": A_0,
            **{name: path.asked[stop].get(name) for name in figures},
        }
