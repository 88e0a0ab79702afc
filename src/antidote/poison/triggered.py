"""What attacks by a trigger share: rows, labels, probes, and what healing means."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from antidote.core import (
    Attack,
    Data,
    Loader,
    Poison,
    Probe,
    Samples,
    Surrogate,
    View,
    as_float,
    everything,
    one_of,
)
from antidote.metrics.accuracy import Obedience, PlainAccuracy
from antidote.metrics.score import Recovery
from antidote.poison.draw import check_rate, draw
from antidote.poison.labels import Rule

STAGES = ("post_transform", "pre_augment")


class Triggered(Attack):
    """Stamps a trigger on `rate` of the training images and labels those by `rule`.

    `stage`: "post_transform" stamps what augmentation returns (Potion), so no crop moves or cuts
    the trigger; "pre_augment" stamps the stored image (BackdoorBench). A subclass says how the
    trigger looks; the other hooks are for attacks that draw, label or show it otherwise.
    """

    def __init__(self, rate: float, rule: Rule, stage: str, seed: int) -> None:
        check_rate(rate)
        one_of("poison.stage", stage, STAGES)
        self.rate, self.rule, self.stage, self.seed = rate, rule, stage, seed

    @abstractmethod
    def stamp(self, data: Data, mask: Tensor) -> View:
        """Shows the trigger on the rows where `mask` (n,) is True, of either part of the data."""

    def check(self, data: Data) -> None:
        """Raises `BadInput` where the attack does not fit the data."""
        self.rule.check(data)

    def rows(self, data: Data) -> Tensor:
        """Sorted training rows that get trigger and label: the poison."""
        return draw(self.rate, data.train, self.seed)

    def bearers(self, data: Data) -> Tensor:
        """Sorted training rows that get the trigger."""
        return self.rows(data)

    def labels(self, data: Data) -> Tensor:
        """Labels (n,) of all training rows."""
        rows, labels = self.rows(data), data.train.y.clone()
        labels[rows] = self.rule(labels[rows], data)
        return labels

    def in_training(self, data: Data) -> View:
        """How training rows bear the trigger."""
        return self.stamp(data, marked(self.bearers(data), len(data.train)))

    def triggers(self, data: Data) -> dict[str, Probe]:
        """What is measured where test images bear the trigger."""
        return {"trigger": self.trigger(data, self.stamp, self.rule)}

    def trigger(self, data: Data, stamp: Callable[[Data, Tensor], View], rule: Rule) -> Probe:
        """Every test image stamped, as the same image would be in training."""
        view = stamp(data, torch.ones_like(data.test.y, dtype=torch.bool))
        if self.stage == "pre_augment":
            view = Stored(view, data.train.x.dtype)
        return Probe(everything(data.test, view=view), rule.measure(data))

    def poison(self, data: Data, surrogate: Surrogate) -> Poison:
        self.check(data)
        indices, labels, stamp = self.rows(data), self.labels(data), self.in_training(data)
        pre = self.stage == "pre_augment"
        x = stored(data.train.x, self.bearers(data), stamp) if pre else data.train.x
        view = None if pre else stamp
        seen = Loader(Samples(x, data.train.y), indices, view=view)
        return Poison(
            train=Samples(x, labels),
            truth=data.train.y,
            indices=indices,
            view=view,
            classes=self.rule.named(data),
            probes={
                "test": Probe(everything(data.test), PlainAccuracy(data.num_classes)),
                **self.triggers(data),
                "poisoned": Probe(seen, Obedience(labels[indices])),
            },
            verdict=Recovery(
                harmed="trigger/accuracy_all",  # the target class counts in both
                intact="test/accuracy",
                success="trigger/success",
                seen="poisoned/accuracy",
            ),
        )


def marked(rows: Tensor, n: int) -> Tensor:
    """(n,) True at `rows`."""
    mask = torch.zeros(n, dtype=torch.bool, device=rows.device)
    mask[rows] = True
    return mask


class Stored:
    """A stamp as stored images bear it: where they are bytes it is rounded and clipped to those."""

    def __init__(self, stamp: View, dtype: torch.dtype) -> None:
        self.stamp, self.bytes = stamp, dtype == torch.uint8

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        stamped = self.stamp(x, rows)
        return stamped.mul(255).round().clamp(0, 255).div(255) if self.bytes else stamped


def stored(x: Tensor, rows: Tensor, stamp: View) -> Tensor:
    """A copy of all images with `rows` stamped, of the same type."""
    stamped, copy = Stored(stamp, x.dtype)(as_float(x[rows]), rows), x.clone()
    copy[rows] = stamped.mul(255).round().byte() if x.dtype == torch.uint8 else stamped
    return copy
