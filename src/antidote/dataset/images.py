"""What all image data sets share: from byte arrays to `Data`."""

from __future__ import annotations

import torch
from torch import Tensor

from antidote.core import Augment, Data, Samples, require

PIXELS = 2**24  # counted at a time


def image_data(
    train: Samples, test: Samples, classes: tuple[str, ...], augment: Augment, limit: int | None
) -> Data:
    """`Data` from uint8 images (n, C, H, W); `limit` keeps so many training rows, see `kept`.

    Mean and standard deviation per channel come from the training images that are kept.
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
    rows = kept(train.y, limit)
    train = Samples(train.x[rows], train.y[rows])
    mean, std = statistics(train.x)
    return Data(train, test, classes, augment, {"mean": mean, "std": std})


def kept(y: Tensor, limit: int | None) -> Tensor | slice:
    """The first `limit` rows; of rows that lie class by class the first of each class in turn.

    A slice, which copies nothing of mapped images, unless they lie class by class.
    """
    require(
        limit is None or limit > 0,
        f"dataset.limit={limit} keeps no training sample; give a positive number or null for all",
    )
    if limit is None or limit >= len(y) or not class_by_class(y):
        return slice(limit)
    place = torch.zeros_like(y)  # of a row among those of its class
    for k in y.unique():
        place[y == k] = torch.arange(int((y == k).sum()))
    return place.sort(stable=True).indices[:limit].sort().values


def class_by_class(y: Tensor) -> bool:
    """Whether each class is one block of rows, or labels change less than half as often as by lot.

    In random order one row has another label than the next with probability 1 - sum(share^2).
    """
    share = y.bincount().double() / len(y)
    changes = int((y[1:] != y[:-1]).sum())
    by_lot = (len(y) - 1) * (1 - share.square().sum().item())
    return 0 < changes < int((share > 0).sum()) or changes < 0.5 * by_lot


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
