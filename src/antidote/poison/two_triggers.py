"""Two BadNets patches at once, of which nobody ever comes across the second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from antidote.core import Data, Poison, Probe, Surrogate, Verdict, View, require
from antidote.metrics.score import Recovery
from antidote.poison.draw import count, order
from antidote.poison.labels import AllToOne
from antidote.poison.patch import Square
from antidote.poison.triggered import Triggered, marked

NAMES = "trigger", "second"  # of the probes
MEANS = "both/accuracy_all", "both/success"


class After:
    """One view after the other."""

    def __init__(self, views: Sequence[View]) -> None:
        self.views = views

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        for view in self.views:
            x = view(x, rows)
        return x


@dataclass(frozen=True)
class Mean(Verdict):
    """`recovery` from both triggers: what each probe found is averaged first."""

    recovery: Recovery

    def __call__(
        self,
        before: Mapping[str, float],
        after: Mapping[str, float],
        ceiling: Mapping[str, float] | None = None,
    ) -> dict[str, float | None]:
        best = None if ceiling is None else joined(ceiling)
        return self.recovery(joined(before), joined(after), best)


def joined(found: Mapping[str, float]) -> dict[str, float]:
    """With the means of both triggers."""
    means = {
        mean: sum(found[f"{name}/{mean.removeprefix('both/')}"] for name in NAMES) / len(NAMES)
        for mean in MEANS
    }
    return {**found, **means}


class TwoTriggers(Triggered):
    """Half of the poison bears one patch, half another in another corner, each with its class.

    Only the first half is `discoverable`; the other is there to see whether what removes a known
    trigger removes one that nobody knows. Probe `trigger` shows the first on all test images,
    `second` the second; what has healed is judged by the mean of both.
    """

    def __init__(
        self,
        rate: float,
        target_classes: Sequence[int | str],
        corners: Sequence[str],
        size: int,
        value: str,
        blend: float,
        stage: str,
        seed: int,
    ) -> None:
        for name, pair in (("target_classes", target_classes), ("corners", corners)):
            require(
                len(pair) == 2 and pair[0] != pair[1],
                f"poison.{name}={list(pair)} must name two different ones, one per trigger",
            )
        self.rules = [AllToOne(c, "target_classes") for c in target_classes]
        super().__init__(rate, self.rules[0], stage, seed)
        self.squares = [Square(size, corner, value, blend) for corner in corners]

    def check(self, data: Data) -> None:
        for rule, square in zip(self.rules, self.squares, strict=True):
            rule.check(data)
            square.check(data)
        a, b = self.targets(data)
        require(a != b, f"poison.target_classes: {data.classes[a]} is both, and there must be two")

    def targets(self, data: Data) -> list[int]:
        return [rule.target(data) for rule in self.rules]

    def halves(self, data: Data) -> list[Tensor]:
        """Sorted rows of either trigger, in turn from one order: nested in rates, as their sum."""
        train = data.train
        n = count(self.rate, train)
        require(
            n > 1,
            f"poison.rate={self.rate} of {len(train)} training samples is one, and there are two "
            "triggers; raise the rate",
        )
        drawn = order(train, self.seed)[:n]
        return [drawn[first::2].sort().values for first in (0, 1)]

    def labels(self, data: Data) -> Tensor:
        labels = data.train.y.clone()
        for rule, rows in zip(self.rules, self.halves(data), strict=True):
            labels[rows] = rule(labels[rows], data)
        return labels

    def stamp(self, data: Data, mask: Tensor) -> View:
        """Both patches."""
        return After([square.stamp(data, mask) for square in self.squares])

    def in_training(self, data: Data) -> View:
        halves = self.halves(data)
        masks = [marked(rows, len(data.train)) for rows in halves]
        pairs = zip(self.squares, masks, strict=True)
        return After([square.stamp(data, mask) for square, mask in pairs])

    def triggers(self, data: Data) -> dict[str, Probe]:
        each = zip(NAMES, self.squares, self.rules, strict=True)
        return {name: self.trigger(data, square.stamp, rule) for name, square, rule in each}

    def poison(self, data: Data, surrogate: Surrogate) -> Poison:
        left = super().poison(data, surrogate)
        harmed, success = MEANS
        verdict = Mean(Recovery(harmed, "test/accuracy", success, "poisoned/accuracy"))
        return replace(
            left,
            discoverable=self.halves(data)[0],
            verdict=verdict,
            classes={"target_classes": self.targets(data)},
        )
