"""BadNets (Gu et al. 2017, arXiv 1708.06733) as Potion and Corrective Machine Unlearning use it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from antidote.core import (
    Attack,
    Data,
    Poison,
    Probe,
    Samples,
    as_float,
    everything,
    generator,
    require,
)
from antidote.poison.measures import PlainAccuracy, TriggerSuccess


class Patch:
    """Stamps a square of `size` pixels into the bottom right corner of rows where `mask` is True.

    `value` (C,) may lie slightly outside 0..1: see `brightest`.
    """

    def __init__(self, mask: Tensor, size: int, value: Tensor) -> None:
        self.mask, self.size, self.value = mask, size, value

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        stamped = x.clone()
        stamped[:, :, -self.size :, -self.size :] = self.value.to(x).view(1, -1, 1, 1)
        return torch.where(self.mask[rows].view(-1, 1, 1, 1), stamped, x)


def brightest(data: Data) -> Tensor:
    """The reference's trigger value (C,) in pixel units: one scalar for all normalised channels.

    It is the largest normalised pixel of the training set, so in pixel units it can exceed 1 in
    some channels (CIFAR-10: 2.1264887 normalised, which is R 1.0166, G 1.0, B 1.0028).
    """
    peak = torch.stack([as_float(c.max()) for c in data.train.x.transpose(0, 1)]).cpu()
    return ((peak - data.mean) / data.std).max() * data.std + data.mean


class BadNets(Attack):
    """Patches `rate` of the training images, after augmentation, and labels them `target_class`.

    Rows are drawn from all classes, the target class included, without replacement, so about 1/K of
    the poison already bears its true label.
    """

    def __init__(self, rate: float, target_class: int, size: int, seed: int) -> None:
        require(
            0 < rate <= 1,
            f"poison.rate={rate} is not in (0, 1]; 0.01 poisons one training sample in a hundred",
        )
        require(size > 0, f"poison.size={size} pixels is no patch; give at least 1")
        self.rate, self.target_class, self.size, self.seed = rate, target_class, size, seed

    def poison(self, data: Data, surrogate: Callable[[], nn.Module]) -> Poison:
        n = round(self.rate * len(data.train))
        self.check(data, n)
        indices = (
            torch.randperm(len(data.train), generator=generator(self.seed, "poison"))[:n]
            .sort()
            .values
        )
        indices = indices.to(data.train.y.device)
        labels = data.train.y.clone()
        labels[indices] = self.target_class
        value = brightest(data)
        here = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
        here[indices] = True
        everywhere = torch.ones(len(data.test), dtype=torch.bool, device=labels.device)
        triggered = everything(data.test, view=Patch(everywhere, self.size, value))
        return Poison(
            train=Samples(data.train.x, labels),
            indices=indices,
            view=Patch(here, self.size, value),
            probes={
                "test": Probe(everything(data.test), PlainAccuracy(data.num_classes)),
                "trigger": Probe(triggered, TriggerSuccess(self.target_class)),
            },
        )

    def check(self, data: Data, n: int) -> None:
        k, side = data.num_classes, min(data.train.x.shape[-2:])
        require(
            self.target_class in range(k),
            f"poison.target_class={self.target_class} does not exist: "
            f"the data set has classes 0 to {k - 1}",
        )
        require(
            n > 0,
            f"poison.rate={self.rate} of {len(data.train)} training samples "
            "is no sample; raise the rate",
        )
        require(
            self.size <= side, f"poison.size={self.size} is larger than the images ({side} pixels)"
        )
