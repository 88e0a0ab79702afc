"""Imagenette (Howard 2019): ten easily told classes of ImageNet, 9,469 + 3,925 RGB images.

From https://github.com/fastai/imagenette, a repository under Apache 2.0; the images are ImageNet's,
whose terms of access allow non-commercial research and education only.
"""

from __future__ import annotations

from functools import partial
from itertools import zip_longest
from pathlib import Path

import torch
from torch import Tensor

from antidote.core import Augment, Data, Samples, require
from antidote.dataset.fetch import damaged, fetched
from antidote.dataset.images import image_data
from antidote.dataset.listing import paths
from antidote.dataset.mapped import decode, place
from antidote.dataset.picture import canvas, encoded

ARCHIVES = {"160px": "imagenette2-160", "320px": "imagenette2-320", "full": "imagenette2"}
CLASSES = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}


def imagenette(
    folder: str,
    archive: str,
    size: int,
    memory_map: bool,
    decoded: str | None,
    augment: Augment,
    download: bool,
    limit: int | None,
) -> Data:
    """The middle squares of the images in `folder`/imagenette2*/, resized to `size` x `size`."""
    require(
        archive in ARCHIVES,
        f"dataset.archive={archive} is unknown; choose {', '.join(ARCHIVES)}",
    )
    keep, square = place(memory_map, decoded), canvas(size, 3, fit="crop", ground="white")
    tree = Path(folder) / ARCHIVES[archive]
    if not tree.is_dir():
        fetched(tree, "Imagenette", download, partial(fetch, archive))
    parts = [listed(tree / part) for part in ("train", "val")]
    train, test = (Samples(decode(encoded(files, square), keep), labels) for files, labels in parts)
    return image_data(train, test, tuple(CLASSES.values()), augment, limit)


def fetch(archive: str, folder: str) -> None:
    from torchvision.datasets import Imagenette  # imports in 3 s, needed for a download only

    Imagenette(folder, size=archive, download=True)


def listed(folder: Path) -> tuple[list[Path], Tensor]:
    """Files and labels, the classes in turn: a `limit` keeps as many of each."""
    by_class = [[(p, k) for p in paths(folder / name)] for k, name in enumerate(CLASSES)]
    empty = [name for name, found in zip(CLASSES, by_class, strict=True) if not found]
    if empty:
        raise damaged(folder, f"no images in {', '.join(empty)}")
    files, labels = zip(*(p for turn in zip_longest(*by_class) for p in turn if p), strict=True)
    return list(files), torch.tensor(labels)
