"""Fine-tuning without the known poison (CF, catastrophic forgetting)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import lightning as L

from antidote.core import Loader, Split, require
from antidote.recipe import Recipe
from antidote.unlearning.trained import Trained


class FineTune(Trained):
    """Goes on training the victim on all but the known poison.

    The length is `fraction` of that of the victim's `recipe`. `optimizer` and `schedule` replace
    those of the recipe. The reference: 1,000 of 4,000 iterations, and the same optimiser and
    schedule as for the victim.
    """

    def __init__(
        self,
        recipe: Recipe,
        fraction: float,
        optimizer: Callable[..., Any],
        schedule: Callable[..., Any],
        make_trainer: Callable[..., L.Trainer],
        seed: int,
    ) -> None:
        require(
            fraction > 0,
            f"unlearning.fraction={fraction} must be positive; 0.25 is the reference's share",
        )
        super().__init__(
            replace(recipe, optimizer=optimizer, schedule=schedule), make_trainer, seed
        )
        self.fraction = fraction

    def batches(self, split: Split) -> Loader:
        return split.retain

    def length(self, split: Split) -> int:
        return max(1, round(self.fraction * super().length(split)))
