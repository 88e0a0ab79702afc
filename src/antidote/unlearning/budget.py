"""How much a method may spend (arXiv 2406.17216): a share of what the victim's training took."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from antidote.core import require
from antidote.recipe import Recipe


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

    def gradients(self, n: int) -> float:
        """Sample gradients, where training would be on n samples."""
        return self.share * self.recipe.sample_gradients(n)

    def require(self, needed: float, n: int, who: str) -> None:
        """Raises `BadInput` where `needed` sample gradients of a training on n are too many."""
        least = math.ceil(1e4 * needed / self.recipe.sample_gradients(n)) / 1e4
        require(
            needed <= self.gradients(n) + 1e-6,
            f"budget.share={self.share} of the victim's training pays for "
            f"{int(self.gradients(n))} sample gradients, but {who} takes {needed:.0f}; "
            f"give at least {least:g}",
        )


class Spending:
    """Batches of `passes` until `left` sample gradients are spent; the last is cut to what is left.

    A sample costs `price`. `size(batch)` is its number of samples, `cut(batch, n)` a part of it
    that has at most n of them, None if there is none.
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
            paid = (
                batch if self.size(batch) <= self.affordable else self.cut(batch, self.affordable)
            )
            if paid is None:
                self.left = 0.0
                return
            self.left -= self.price * self.size(paid)
            yield paid

    def steps(self) -> int:
        """How many batches there are, which spends all; pass after pass."""
        count, before = 0, -1
        while count != before:
            before = count
            count += sum(1 for _ in self)
        return count
