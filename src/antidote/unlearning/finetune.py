"""Fine-tuning without the known poison (CF, catastrophic forgetting), and as a repair."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import lightning as L

from antidote.core import Loader, Split, compute, require
from antidote.recipe import Recipe
from antidote.unlearning.budget import Budget, Spending
from antidote.unlearning.trained import Trained


class Fraction(Trained):
    """A trained method that takes `fraction` of the steps of the victim's `recipe`.

    `optimizer` and `schedule` replace those of the recipe. The reference: 1,000 of 4,000
    iterations, and the same optimiser and schedule as for the victim. With a `budget` it takes as
    many as that pays for, each sample at `price` sample gradients.
    """

    forwards = 0  # of teachers, per sample

    def __init__(
        self,
        recipe: Recipe,
        fraction: float,
        optimizer: Callable[..., Any],
        schedule: Callable[..., Any],
        make_trainer: Callable[..., L.Trainer],
        hold_out: float,
        seed: int,
        budget: Budget | None = None,
    ) -> None:
        require(
            fraction > 0,
            f"unlearning.fraction={fraction} must be positive; 0.25 is the reference's share",
        )
        recipe = replace(recipe, optimizer=optimizer, schedule=schedule)
        super().__init__(recipe, make_trainer, hold_out, seed)
        self.fraction, self.budget = fraction, budget
        require(
            budget is None or hold_out == 0,
            f"a budget pays for no choice of checkpoints: give hold_out=0 in place of {hold_out}, "
            "or budget=none",
        )

    @property
    def price(self) -> float:
        """Sample gradients that a sample costs."""
        return compute(1, self.forwards)

    def batches(self, split: Split) -> Loader:
        return split.retain

    def length(self, split: Split) -> int:
        """Steps: the fraction of what the recipe takes on the retained data."""
        return max(1, round(self.fraction * self.recipe.total_steps(split.retain.count)))

    def course(self, split: Split) -> tuple[int, Iterable[Any]]:
        if self.budget is None:
            return super().course(split)
        return self.spending(hollow(split), self.budget).steps(), self.spending(split, self.budget)

    def gradients(self, n: int) -> float:
        whole = self.recipe.sample_gradients(n)
        if self.budget is not None:
            return self.budget.share * whole
        return self.fraction * self.price * whole

    def spending(self, split: Split, budget: Budget) -> Spending:
        left = budget.gradients(everybody(split), self.part(split))
        return Spending(self.passes(split), left, self.price, self.size, self.cut)

    def part(self, split: Split) -> float:
        """Share of the data that a pass is over, for which a budget pays."""
        return 1.0

    def cut(self, batch: Any, n: int) -> Any:
        """n samples of a batch."""
        return tuple(part[:n] if hasattr(part, "shape") else part for part in batch)

    def afford(self, split: Split) -> None:
        if self.budget is None or not self.part(split):
            return
        first = next(iter(self.passes(hollow(split))))
        who, price = f"one step of {type(self).__name__}", self.price * self.size(first)
        self.budget.require(price, who, everybody(split), self.part(split))


class FineTune(Fraction):
    """Goes on training the victim on all but the known poison."""


class Repair(FineTune):
    """Fine-tuning that mends what an edit broke: counted in passes, not in shares of the recipe.

    Steps: `passes` over the retained data, as many as `known_passes` over the known poison would
    be, and `more_steps`. If `broken_off`, the schedule is the one that fine-tuning has, of which
    only the beginning is seen; else it is laid out for the steps taken.
    """

    def __init__(
        self, passes: float, known_passes: int, more_steps: int, broken_off: bool, **settings: Any
    ) -> None:
        super().__init__(**settings)
        require(passes > 0, f"passes={passes} of a repair must be positive")
        require(
            min(known_passes, more_steps) >= 0,
            f"known_passes={known_passes} and more_steps={more_steps} must not be negative",
        )
        self.retained, self.known, self.more = passes, known_passes, more_steps
        self.broken_off = broken_off

    def length(self, split: Split) -> int:
        retained, known = (len(self.shuffled(part)) for part in (split.retain, split.forget))
        return max(1, round(self.retained * retained) + self.known * known + self.more)

    def gradients(self, n: int) -> float:
        return self.retained * n + self.more * self.recipe.batch_size

    def horizon(self, split: Split, steps: int) -> int:
        """At least the steps taken: behind its end a schedule has no meaning."""
        whole = super().length(split) if self.broken_off else 0
        return max(steps, whole)


def everybody(split: Split) -> int:
    return split.forget.count + split.retain.count


def hollow(split: Split) -> Split:
    """Its rows and labels without the images: the same batches, for nothing."""
    return replace(split, forget=split.forget.hollow(), retain=split.retain.hollow())
