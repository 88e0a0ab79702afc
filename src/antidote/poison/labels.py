"""Which label a trigger brings, and what is measured where it is seen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from antidote.core import Data, Measure, class_of, require
from antidote.metrics.accuracy import NextSuccess, TriggerSuccess


class Rule(ABC):
    """From true labels (n,) to those that the attacker wants."""

    @abstractmethod
    def __call__(self, y: Tensor, data: Data) -> Tensor: ...

    @abstractmethod
    def measure(self, data: Data) -> Measure:
        """Of test images that all bear the trigger, with their true labels."""

    @abstractmethod
    def check(self, data: Data) -> None:
        """Raises `BadInput` where the data have no such classes."""

    def named(self, data: Data) -> dict[str, list[int]]:
        """The classes that its setting names, by the setting."""
        return {}


class AllToOne(Rule):
    """Whatever bears the trigger is of class `target_class`, a name or a number."""

    def __init__(self, target_class: Any, setting: str = "target_class") -> None:
        self.target_class, self.setting = target_class, setting

    def target(self, data: Data) -> int:
        return class_of(data, self.target_class, f"poison.{self.setting}")

    def named(self, data: Data) -> dict[str, list[int]]:
        return {self.setting: [self.target(data)]}

    def __call__(self, y: Tensor, data: Data) -> Tensor:
        return torch.full_like(y, self.target(data))

    def measure(self, data: Data) -> Measure:
        return TriggerSuccess(self.target(data))

    def check(self, data: Data) -> None:
        require(
            bool((data.test.y != self.target(data)).any()),
            f"poison.{self.setting}={self.target_class}: the test part has no image of another "
            "class, on which the trigger could be measured; choose another class or more images",
        )


class ToNext(Rule):
    """All-to-all (Gu et al. 2017, arXiv 1708.06733): (y + 1) mod K, so no label stays true."""

    def __call__(self, y: Tensor, data: Data) -> Tensor:
        return (y + 1) % data.num_classes

    def measure(self, data: Data) -> Measure:
        return NextSuccess(data.num_classes)

    def check(self, data: Data) -> None:
        require(data.num_classes > 1, "all-to-all needs two classes, but the data set has one")
