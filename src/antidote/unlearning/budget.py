"""How much a method may spend (arXiv 2406.17216): a share of what the victim's training took."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from antidote.core import require
from antidote.recipe import Recipe

LEAST = 8  # a cut batch is at least an eighth of a whole one


@dataclass(frozen=True)
class Budget:
    """`share` of the sample gradients that `recipe`, the victim's, takes."""

    share: float
    recipe: Recipe

    def __post_init__(self) -> None:
        require(
            self.share > 0,
            f"budget.share={self.share} must be positive; 0.04 is 4 % of the victim's training",
        )

    def gradients(self, n: int, part: float = 1.0) -> float:
        """Sample gradients, of a training on n samples; `part` of them, where that is all."""
        return self.share * part * self.recipe.sample_gradients(n)

    def require(self, needed: float, who: str, n: int, part: float = 1.0) -> None:
        """Raises `BadInput` where `needed` sample gradients are more than that."""
        allowed = self.gradients(n, part)
        least = math.ceil(1e4 * self.share * needed / allowed) / 1e4
        require(
            needed <= allowed + 1e-6,
            f"budget.share={self.share} of the victim's training pays for {int(allowed)} sample "
            f"gradients, but {who} takes {needed:.0f}; give at least {least:g}",
        )


class Spending:
    """Batches of `passes` until `left` sample gradients are spent; the last is cut to what is left.

    Unless that is less than an eighth of it, a step that would be noise. A sample costs `price`.
    `size(batch)` is its number of samples, `cut(batch, n)` a part of it with n of them.
    """

    def __init__(
        self,
        passes: Iterable[Any],
        left: float,
        price: float,
        size: Callable[[Any], int],
        cut: Callable[[Any, int], Any],
    ) -> None:
        self.passes, self.left, self.price = passes, left, price
        self.size, self.cut = size, cut

    @property
    def affordable(self) -> int:
        """How many more can be paid for."""
        return int(self.left / self.price + 1e-6)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.passes:
            n = self.affordable
            if self.size(batch) <= n:
                self.left -= self.price * self.size(batch)
                yield batch
                continue
            self.left = 0.0  # what a cut leaves is no step more
            if n * LEAST >= self.size(batch):
                yield self.cut(batch, n)
            return

    def steps(self) -> int:
        """How many batches there are, which spends all; pass after pass."""
        count, before = 0, -1
        while count != before:
            before = count
            count += sum(1 for _ in self)
        return count
