"""Which label a trigger brings, and what is measured where it is seen."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from antidote.core import Data, Measure, require
from antidote.metrics.accuracy import NextSuccess, TriggerSuccess


class Rule(ABC):
    """From true labels (n,) to those that the attacker wants."""

    @abstractmethod
    def __call__(self, y: Tensor, num_classes: int) -> Tensor: ...

    @abstractmethod
    def measure(self, num_classes: int) -> Measure:
        """Of test images that all bear the trigger, with their true labels."""

    @abstractmethod
    def check(self, data: Data) -> None:
        """Raises `BadInput` where the data have no such classes."""


class AllToOne(Rule):
    """Whatever bears the trigger is of class `target_class`."""

    def __init__(self, target_class: int) -> None:
        self.target_class = target_class

    def __call__(self, y: Tensor, num_classes: int) -> Tensor:
        return torch.full_like(y, self.target_class)

    def measure(self, num_classes: int) -> Measure:
        return TriggerSuccess(self.target_class)

    def check(self, data: Data) -> None:
        require(
            self.target_class in range(data.num_classes),
            f"poison.target_class={self.target_class} does not exist: "
            f"the data set has classes 0 to {data.num_classes - 1}",
        )
        require(
            bool((data.test.y != self.target_class).any()),
            f"poison.target_class={self.target_class}: the test part has no image of another "
            "class, on which the trigger could be measured; choose another class or more images",
        )


class ToNext(Rule):
    """All-to-all (Gu et al. 2017, arXiv 1708.06733): (y + 1) mod K, so no label stays true."""

    def __call__(self, y: Tensor, num_classes: int) -> Tensor:
        return (y + 1) % num_classes

    def measure(self, num_classes: int) -> Measure:
        return NextSuccess(num_classes)

    def check(self, data: Data) -> None:
        require(data.num_classes > 1, "all-to-all needs two classes, but the data set has one")
