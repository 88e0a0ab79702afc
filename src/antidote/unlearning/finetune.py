"""Fine-tuning without the known poison (CF, catastrophic forgetting)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import lightning as L

from antidote.checks import require
from antidote.core import Loader, Split
from antidote.recipe import Recipe
from antidote.unlearning.trained import Trained


class Fraction(Trained):
    """A trained method that takes `fraction` of the steps of the victim's `recipe`.

    `optimizer` and `schedule` replace those of the recipe. The reference: 1,000 of 4,000
    iterations, and the same optimiser and schedule as for the victim.
    """

    def __init__(
        self,
        recipe: Recipe,
        fraction: float,
        optimizer: Callable[..., Any],
        schedule: Callable[..., Any],
        make_trainer: Callable[..., L.Trainer],
        hold_out: float,
        seed: int,
    ) -> None:
        require(
            fraction > 0,
            f"unlearning.fraction={fraction} must be positive; 0.25 is the reference's share",
        )
        recipe = replace(recipe, optimizer=optimizer, schedule=schedule)
        super().__init__(recipe, make_trainer, hold_out, seed)
        self.fraction = fraction

    def batches(self, split: Split) -> Loader:
        return split.retain

    def length(self, split: Split) -> int:
        """Steps: the fraction of what the recipe takes on the retained data."""
        return max(1, round(self.fraction * self.recipe.total_steps(split.retain.count)))


class FineTune(Fraction):
    """Goes on training the victim on all but the known poison."""
