"""BadNets (Gu et al. 2017, arXiv 1708.06733) as Potion and Corrective Machine Unlearning use it."""

from __future__ import annotations

from torch import Tensor

from antidote.core import Data, View
from antidote.poison.labels import AllToOne, Rule, ToNext
from antidote.poison.patch import Square
from antidote.poison.triggered import Triggered


class Patched(Triggered):
    """The trigger is one patch."""

    def __init__(self, rate: float, rule: Rule, square: Square, stage: str, seed: int) -> None:
        super().__init__(rate, rule, stage, seed)
        self.square = square

    def stamp(self, data: Data, mask: Tensor) -> View:
        return self.square.stamp(data, mask)

    def check(self, data: Data) -> None:
        super().check(data)
        self.square.check(data)


class BadNets(Patched):
    """Patches `rate` of the training images and labels them `target_class`.

    Rows are drawn from all classes, the target class included, without replacement, so about 1/K of
    the poison already bears its true label.
    """

    def __init__(
        self,
        rate: float,
        target_class: int | str,
        size: int,
        corner: str,
        value: str,
        blend: float,
        stage: str,
        seed: int,
    ) -> None:
        square = Square(size, corner, value, blend)
        super().__init__(rate, AllToOne(target_class), square, stage, seed)


class AllToAll(Patched):
    """The patch moves every class to the next one: an image of class y is labelled (y + 1) mod K.

    No label of the poison is true, and with the trigger every test image counts as an attack.
    """

    def __init__(
        self,
        rate: float,
        size: int,
        corner: str,
        value: str,
        blend: float,
        stage: str,
        seed: int,
    ) -> None:
        super().__init__(rate, ToNext(), Square(size, corner, value, blend), stage, seed)
