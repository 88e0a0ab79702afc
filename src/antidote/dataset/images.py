"""What all image data sets share: from byte arrays to `Data`."""

from __future__ import annotations

import torch
from torch import Tensor

from antidote.checks import require
from antidote.core import Augment, Data, Samples

PIXELS = 2**24  # counted at a time


def image_data(
    train: Samples, test: Samples, classes: tuple[str, ...], augment: Augment, limit: int | None
) -> Data:
    """`Data` from uint8 images (n, C, H, W); `limit` keeps the first so many training rows.

    Mean and standard deviation per channel come from the training images that are kept.
    """
    for part in (train, test):
        require(
            len(part.x) == len(part.y),
            f"the data set has {len(part.x)} images but {len(part.y)} labels; fetch it again",
        )
    if limit is not None:
        require(
            limit > 0,
            f"dataset.limit={limit} keeps no training sample; "
            "give a positive number or null for all",
        )
        train = Samples(train.x[:limit], train.y[:limit])
    mean, std = statistics(train.x)
    return Data(train, test, classes, augment, mean, std)


def statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Exact mean and standard deviation (C,) in 0..1 of bytes (n, C, H, W).

    Both come from the histogram of 256 values, which is counted a part at a time: `x` may be
    larger than memory.
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    counts = torch.zeros(x.shape[1], 256, dtype=torch.int64)
    for part in x.split(max(1, PIXELS // x.shape[1:].numel())):
        for c, count in zip(part.transpose(0, 1), counts, strict=True):
            count += torch.bincount(c.reshape(-1), minlength=256)
    share = counts.double() / counts.sum(1, keepdim=True)
    mean = share @ values
    std = (share @ values.square() - mean.square()).clamp_min(1e-12).sqrt()
    return mean.float(), std.float()
