"""PTN, Potion's search for a weight editor's strength, amount of poison and clean set unknown."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from antidote.core import History, Loader, Method, Split, Victim, Work, accuracy, derive, require
from antidote.core.meter import FORWARD
from antidote.unlearning.limits import Limits
from antidote.unlearning.search import STRATEGIES, Path
from antidote.unlearning.weight_editor import Editor

log = logging.getLogger(__name__)


class PTN(Method):
    """Raises the pressure until the known poison is no longer answered with its poisoned labels.

    A_0 is the victim's accuracy on the known poison w.r.t. its POISONED labels, A_t the accuracy
    after try t with pressure natural / start * growth^t; the first A_t <= rho A_0 is accepted.
    About 1/K of the known poison truly belongs to the target class, so rho < 1/K damages the net;
    discovery.exclude_true_target=true avoids that. If no try is accepted the last one stays, as in
    the reference, and `search.met` is false. `augment`: check on augmented images, as the reference
    does. `pressure_max`: stop there; null for no limit. With `max_drop` or `max_class_drop`, see
    `Limits`, which neither paper has, the search also ends before a try that costs more.
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
        max_drop: float | None = None,
        max_class_drop: float | None = None,
        held_out: float = 0.1,
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
        self.limits = Limits(max_drop, max_class_drop, held_out)

    def pressure(self, natural: float, t: int) -> float:
        return natural / self.start * self.growth**t

    def tries(self, natural: float) -> int:
        """How many tries stay below `pressure_max`; at least one."""
        if self.pressure_max is None:
            return self.max_tries
        allowed = sum(self.pressure(natural, t) <= self.pressure_max for t in range(self.max_tries))
        return max(1, allowed)

    # `needs_known` stays true, whatever the editor needs: a search looks at the known poison
    assumes_wrong_labels = True
    gentler = (
        "unlearning.max_class_drop=0.1 stops the search before such damage, a larger "
        "unlearning.rho stops it earlier"
    )

    def check(self, net: nn.Module) -> None:
        self.method.check(net)

    def afford(self, split: Split) -> None:
        self.method.afford(split)

    def tried(self) -> Work:
        """What determines a try, besides its number: not where a search stops."""
        own: dict[str, Any] = {"start": self.start, "growth": self.growth}
        own |= {"check": [self.augment, self.seed]}
        own |= {"held_out": self.limits.held_out} if self.limits.on else {}
        what = {"search": type(self), "method": self.method, **own}
        # some dozens of looks at the few known: a tenth of a look at all rows, as a rule
        return Work("search", what, "search paths", lambda n: FORWARD * n / 10)

    def work(self) -> Iterable[Work]:
        yield from self.method.work()
        yield self.tried()

    def known(self, split: Split, look: str) -> Loader:
        """The known poison; each look draws its own augmentation, whichever came before it."""
        augment = split.forget.augment if self.augment else None
        return split.forget.with_(seed=derive(self.seed, look), augment=augment)

    def unlearn(self, victim: Victim, split: Split) -> History:
        net, limits = victim.net, self.limits

        def look(name: str) -> float:
            torch.clear_autocast_cache()  # else an autocast that is on hides what was edited
            with victim.precision():
                return accuracy(net, self.known(split, name))

        def cost() -> dict[str, float]:
            with victim.precision():
                return limits.cost(net, held, before) if limits.on else {}

        if limits.on:
            split, held = limits.apart(split, self.seed)
            with victim.precision():
                before = limits.look(net, held)
            whole = copy.deepcopy(net.state_dict())
        earlier, keep = split.memo.tries(self.tried(), net, [split.forget, split.retain])
        A_0 = look("victim")
        evidence = self.method.measure(net, split)
        natural = self.method.natural(evidence)
        path, tries = Path(earlier), self.tries(natural)
        limit = self.rho * A_0 + 1e-12  # 7/50 is 0.2 of 35/50

        def ends(row: Mapping[str, float]) -> bool:
            return row["known_poison_accuracy"] <= limit or limits.exceeded(row) is not None

        for t in path.walk(STRATEGIES[self.strategy](tries), ends):
            began = time.perf_counter()
            done = self.method.edit(net, evidence, self.pressure(natural, t))
            row = {"try": t, "known_poison_accuracy": look(f"try {t}"), **cost(), **done}
            path.add(t, row, time.perf_counter() - began)
        keep(path.fresh)
        stop, broken = self.accepted(path, tries, limit)
        if stop >= 0:
            self.method.edit(net, evidence, self.pressure(natural, stop))
        else:
            net.load_state_dict(whole)
        search = self.told(path, stop, A_0) | {"infinite_ratios": evidence.infinite}
        search |= {"met": search["known_poison_accuracy"] <= limit}
        search |= {"stopped_by": broken} if limits.on else {}
        spared = split.forget.count * (len(path.asked) - len(path.fresh))
        steps = [path.asked[t] for t in sorted(path.asked)]
        return History(
            steps, evidence.sample_gradients, evidence.saved + path.saved, search, spared
        )

    def accepted(self, path: Path, tries: int, limit: float) -> tuple[int, str | None]:
        """(the try that stays, -1 if none may; the limit that the next one broke)."""
        end = path.first
        if end is None:
            said = "PTN: none of %d tries brought the known poison to %.0f %%"
            log.warning(said, tries, 100 * limit)
            return tries - 1, None
        broken = self.limits.exceeded(path.asked[end])
        if broken is None:
            return end, None
        log.warning("PTN: stopped at try %d by unlearning.%s", end - 1, broken)
        return end - 1, broken

    def told(self, path: Path, stop: int, A_0: float) -> dict[str, Any]:
        """How the search went, and what the try it stopped at did."""
        done = path.asked.get(stop, {"known_poison_accuracy": A_0, "dampened": 0.0})
        figures = ("known_poison_accuracy", "cutoff", "percentile", "dampened")
        return {
            "tries": stop + 1,
            "forwards": len(path.asked),
            "looked_up": len(path.asked) - len(path.fresh),
            "rho": self.rho,
            "start_accuracy": A_0,
            **{name: done.get(name) for name in figures},
        }
