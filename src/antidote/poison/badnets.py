"""BadNets (Gu et al. 2017, arXiv 1708.06733) as Potion and Corrective Machine Unlearning use it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from antidote.core import (
    Attack,
    Data,
    Loader,
    Poison,
    Probe,
    Samples,
    View,
    as_float,
    everything,
    one_of,
    require,
)
from antidote.metrics.accuracy import Obedience, PlainAccuracy, TriggerSuccess
from antidote.metrics.score import Recovery
from antidote.poison.draw import check_rate, draw

CORNERS = {  # rows and columns of a size x size square in that corner
    "bottom_right": lambda size: (slice(-size, None), slice(-size, None)),
    "bottom_left": lambda size: (slice(-size, None), slice(size)),
    "top_right": lambda size: (slice(size), slice(-size, None)),
    "top_left": lambda size: (slice(size), slice(size)),
}


class Patch:
    """Stamps a square of `size` pixels into one corner of the rows where `mask` is True.

    `value` (C,) may lie slightly outside 0..1: see `brightest`. `blend` is its opacity in (0, 1].
    """

    def __init__(self, mask: Tensor, size: int, value: Tensor, corner: str, blend: float) -> None:
        self.mask, self.size, self.value = mask, size, value
        self.corner, self.blend = corner, blend

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        stamped = x.clone()
        height, width = CORNERS[self.corner](self.size)
        square = stamped[:, :, height, width]
        square.lerp_(self.value.to(x).view(1, -1, 1, 1).expand_as(square), self.blend)
        return torch.where(self.mask[rows].view(-1, 1, 1, 1), stamped, x)


def brightest(data: Data) -> Tensor:
    """The reference's trigger value (C,) in pixel units: one scalar for all normalised channels.

    It is the largest normalised pixel of the training set, so in pixel units it can exceed 1 in
    some channels (CIFAR-10: 2.1264887 normalised, which is R 1.0166, G 1.0, B 1.0028).
    """
    peak = as_float(data.train.x.amax((0, 2, 3))).cpu()  # copies nothing, however large x is
    mean, std = data.facts["mean"], data.facts["std"]
    return ((peak - mean) / std).max() * std + mean


def white(data: Data) -> Tensor:
    """The largest pixel value (C,) in every channel: BackdoorBench's trigger."""
    return torch.ones_like(data.facts["mean"])


VALUES = {"brightest": brightest, "white": white}
STAGES = ("post_transform", "pre_augment")


class BadNets(Attack):
    """Patches `rate` of the training images and labels them `target_class`.

    Rows are drawn from all classes, the target class included, without replacement, so about 1/K of
    the poison already bears its true label. `stage`: "post_transform" stamps what augmentation
    returns (Potion), so no crop moves or cuts the patch; "pre_augment" stamps the stored image
    (BackdoorBench).
    """

    def __init__(
        self,
        rate: float,
        target_class: int,
        size: int,
        corner: str,
        value: str,
        blend: float,
        stage: str,
        seed: int,
    ) -> None:
        check_rate(rate)
        require(size > 0, f"poison.size={size} pixels is no patch; give at least 1")
        require(0 < blend <= 1, f"poison.blend={blend} is not in (0, 1]; 1 hides what is below")
        one_of("poison.corner", corner, CORNERS)
        one_of("poison.value", value, VALUES)
        one_of("poison.stage", stage, STAGES)
        self.rate, self.target_class, self.size, self.seed = rate, target_class, size, seed
        self.corner, self.value, self.blend, self.stage = corner, value, blend, stage

    def poison(self, data: Data, surrogate: Callable[[], nn.Module]) -> Poison:
        self.check(data)
        indices = draw(self.rate, data.train, self.seed)
        labels = data.train.y.clone()
        labels[indices] = self.target_class
        here = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
        here[indices] = True
        stamp: View = self.patch(data, here)
        everywhere: View = self.patch(data, torch.ones_like(data.test.y) > 0)
        pre = self.stage == "pre_augment"
        if pre:
            stamp, everywhere = (Stored(p, data.train.x.dtype) for p in (stamp, everywhere))
        x = stored(data.train.x, indices, stamp) if pre else data.train.x
        view = None if pre else stamp
        triggered = everything(data.test, view=everywhere)
        seen = Loader(Samples(x, data.train.y), indices, view=view)
        success = TriggerSuccess(self.target_class)
        return Poison(
            train=Samples(x, labels),
            truth=data.train.y,
            indices=indices,
            view=view,
            probes={
                "test": Probe(everything(data.test), PlainAccuracy(data.num_classes)),
                "trigger": Probe(triggered, success),
                "poisoned": Probe(seen, Obedience(labels[indices])),
            },
            verdict=Recovery(
                harmed="trigger/accuracy_all",  # the target class counts in both
                intact="test/accuracy",
                success="trigger/success",
                seen="poisoned/accuracy",
            ),
        )

    def patch(self, data: Data, mask: Tensor) -> Patch:
        return Patch(mask, self.size, VALUES[self.value](data), self.corner, self.blend)

    def check(self, data: Data) -> None:
        k, side = data.num_classes, min(data.train.x.shape[-2:])
        require(
            self.target_class in range(k),
            f"poison.target_class={self.target_class} does not exist: "
            f"the data set has classes 0 to {k - 1}",
        )
        require(
            self.size <= side, f"poison.size={self.size} is larger than the images ({side} pixels)"
        )
        require(
            bool((data.test.y != self.target_class).any()),
            f"poison.target_class={self.target_class}: the test part has no image of another "
            "class, on which the trigger could be measured; choose another class or more images",
        )


class Stored:
    """A stamp as stored images bear it: where they are bytes it is rounded and clipped to those."""

    def __init__(self, stamp: View, dtype: torch.dtype) -> None:
        self.stamp, self.bytes = stamp, dtype == torch.uint8

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        stamped = self.stamp(x, rows)
        return stamped.mul(255).round().clamp(0, 255).div(255) if self.bytes else stamped


def stored(x: Tensor, rows: Tensor, stamp: View) -> Tensor:
    """A copy of all images with `rows` stamped, of the same type."""
    stamped, copy = stamp(as_float(x[rows]), rows), x.clone()
    copy[rows] = stamped.mul(255).round().byte() if x.dtype == torch.uint8 else stamped
    return copy
