"""What all image data sets share: from byte arrays to `Data`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from antidote.core import Augment, Data, Samples, as_float, require
from antidote.dataset.rows import kept

log = logging.getLogger(__name__)
PIXELS = 2**24  # counted at a time
Numbers = float | Sequence[float] | None


def image_data(
    train: Samples,
    test: Samples,
    classes: tuple[str, ...],
    augment: Augment,
    limit: int | None,
    mean: Numbers = None,
    std: Numbers = None,
) -> Data:
    """`Data` from images (n, C, H, W); `limit` keeps so many training rows, see `kept`.

    Mean and standard deviation per channel, in 0..1, come from the training images that are kept,
    unless they are given: one number for each channel, or one for all.
    """
    for part in (train, test):
        require(
            len(part.x) == len(part.y),
            f"the data set has {len(part.x)} images but {len(part.y)} labels; fetch it again",
        )
    require(
        len(train) > 0 and len(test) > 0,
        f"the data set has {len(train)} images for training and {len(test)} for testing; "
        "it needs some of each",
    )
    own = [given("mean", mean, train), given("std", std, train)]
    rows = kept(train.y, limit)
    train = Samples(train.x[rows], train.y[rows])
    found = statistics(train.x)
    warn_of_constant(found)
    mean_, std_ = (f if o is None else o for o, f in zip(own, found, strict=True))
    return Data(train, test, classes, augment, {"mean": mean_, "std": std_})


def given(name: str, numbers: Numbers, train: Samples) -> Tensor | None:
    """(C,) of a setting; None: to be measured."""
    if numbers is None:
        return None
    channels = train.x.shape[1]
    each = [numbers] * channels if isinstance(numbers, int | float) else list(numbers)
    found = torch.tensor(each, dtype=torch.float32)
    require(
        found.shape == (channels,) and bool(((found >= 0) & (found <= 1)).all()),
        f"dataset.{name}={numbers} is not a number in 0..1 for each of {channels} channels; of "
        "values that are meant for bytes give the 255th part",
    )
    require(name == "mean" or bool((found > 0).all()), f"dataset.{name}={numbers} divides by 0")
    return found


def warn_of_constant(found: tuple[Tensor, Tensor]) -> None:
    flat = [c for c, std in enumerate(found[1].tolist()) if std < 1e-4]
    if flat:
        told = ", ".join(f"{c} ({found[0][c]:.3g} of 1)" for c in flat)
        log.warning(
            "the same value in all pixels of all training images, in channel %s: is that what the "
            "images look like?",
            told,
        )


def statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (C,) in 0..1 of images (n, C, H, W), exact for bytes.

    They are counted a part at a time: `x` may be larger than memory.
    """
    mean, square = by_value(x) if x.dtype == torch.uint8 else by_sum(x)
    std = (square - mean.square()).clamp_min(1e-12).sqrt()
    return mean.float(), std.float()


def by_value(x: Tensor) -> tuple[Tensor, Tensor]:
    """(mean, mean of squares), by a histogram of the 256 values."""
    values = torch.arange(256, dtype=torch.float64) / 255
    counts = torch.zeros(x.shape[1], 256, dtype=torch.int64)
    for part in parts(x):
        for c, count in zip(part.transpose(0, 1), counts, strict=True):
            count += torch.bincount(c.reshape(-1), minlength=256)
    share = counts.double() / counts.sum(1, keepdim=True)
    return share @ values, share @ values.square()


def by_sum(x: Tensor) -> tuple[Tensor, Tensor]:
    """(mean, mean of squares)"""
    sums = torch.zeros(2, x.shape[1], dtype=torch.float64)
    for part in parts(x):
        part = as_float(part).double()
        sums += torch.stack([part.sum((0, 2, 3)), part.square().sum((0, 2, 3))])
    mean, square = sums / (x.numel() / x.shape[1])
    return mean, square


def parts(x: Tensor) -> Iterator[Tensor]:
    yield from x.split(max(1, PIXELS // x.shape[1:].numel()))
