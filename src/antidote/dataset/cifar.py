"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 50,000 + 10,000 RGB images of 32x32 pixels.

They come from https://www.cs.toronto.edu/~kriz/cifar.html, which states no licence and asks to
cite "Learning Multiple Layers of Features from Tiny Images". CIFAR-10 is read from what
`make cifar10` has put there as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from antidote.core import Augment, Data, Samples, require
from antidote.dataset import sprites
from antidote.dataset.fetch import damaged, fetched
from antidote.dataset.images import image_data

CHOICES = ("own", "cifar10")
# mean and standard deviation of CIFAR-10 that the reference uses, for CIFAR-100 as well
PUBLISHED = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def cifar10(
    folder: str, augment: Augment, statistics: str, download: bool, limit: int | None
) -> Data:
    """`statistics`: "own" of the training images, or "cifar10", the reference's four digits."""
    known(statistics)
    if (Path(folder) / sprites.FILE).is_file():
        parts = sprites.read(Path(folder))
    else:
        parts = archive("CIFAR10", Path(folder) / "cifar-10-batches-py", download)
    return cifar(*parts, augment, statistics, limit)


def cifar100(
    folder: str, augment: Augment, statistics: str, download: bool, limit: int | None
) -> Data:
    """The labels are the 100 fine classes; for `statistics` see `cifar10`."""
    known(statistics)
    parts = archive("CIFAR100", Path(folder) / "cifar-100-python", download)
    return cifar(*parts, augment, statistics, limit)


def known(statistics: str) -> None:
    require(
        statistics in CHOICES,
        f"dataset.statistics={statistics} is unknown; choose {' or '.join(CHOICES)}",
    )


def cifar(
    train: Samples,
    test: Samples,
    classes: Sequence[str],
    augment: Augment,
    statistics: str,
    limit: int | None,
) -> Data:
    data = image_data(train, test, tuple(classes), augment, limit)
    if statistics == "own":
        return data
    mean, std = map(torch.tensor, PUBLISHED)
    return replace(data, facts={"mean": mean, "std": std})


def archive(name: str, place: Path, download: bool) -> tuple[Samples, Samples, Sequence[str]]:
    """The training and the test part of torchvision's data set `name`, and its classes."""
    if not place.is_dir():
        fetched(place, name, download, lambda half: open_part(name, half, True, download=True))
    try:
        parts = [open_part(name, str(place.parent), train) for train in (True, False)]
    except Exception as error:  # torchvision unpickles: a damaged file can raise anything
        raise damaged(place, error) from error
    train, test = map(samples, parts)
    return train, test, parts[0].classes


def open_part(name: str, folder: str, train: bool, download: bool = False) -> Any:
    """torchvision's data set; before it unpickles a file it compares the MD5 sums of all."""
    from torchvision import datasets  # imports in 3 s

    return getattr(datasets, name)(folder, train=train, download=download)


def samples(part: Any) -> Samples:
    # the files hold rows of C, H, W, torchvision shows them as H, W, C: back, without a copy
    x = torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous()
    return Samples(x, torch.tensor(part.targets))
