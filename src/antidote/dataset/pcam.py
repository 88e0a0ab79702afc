"""PatchCamelyon (Veeling et al. 2018, arXiv 1806.03962; data under CC0 1.0).

262,144 + 32,768 RGB patches of 96x96 pixels from scans of lymph nodes, half of them with tumour
tissue in the 32x32 pixels at the centre. The validation part is not used.
Source: https://github.com/basveeling/pcam.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import torch
from torch import Tensor

from antidote.core import Augment, BadInput, Data, Samples, one_of, require
from antidote.dataset.fetch import damaged, fetched
from antidote.dataset.images import image_data
from antidote.dataset.mapped import Encoded, decode, place, stamp

CLASSES = ("no tumour", "tumour")
PARTS = ("train", "test")
ROWS = 512  # decoded at a time: 14 MB


def pcam(
    folder: str,
    crop: int | None,
    statistics: str,
    memory_map: bool,
    decoded: str | None,
    augment: Augment,
    download: bool,
    limit: int | None,
) -> Data:
    """The HDF5 files in `folder` or `folder`/pcam, else torchvision's download into the latter.

    `crop`: side of the square in the middle that is kept, None for all. `statistics`: "own" of the
    training images, or "half", a mean and standard deviation of 0.5 as the reference has it.
    """
    one_of("dataset.statistics", statistics, ("own", "half"))
    keep = place(memory_map, decoded)
    found = find(Path(folder), download)
    labels = [read_labels(found, part) for part in PARTS]
    images = [describe(found, part, crop) for part in PARTS]
    for part, x, y in zip(PARTS, images, labels, strict=True):
        require(
            x.shape[0] == len(y),
            f"{found} has {x.shape[0]} images but {len(y)} labels in its {part} part; "
            "delete it and run again",
        )
    train, test = (Samples(decode(x, keep), y) for x, y in zip(images, labels, strict=True))
    data = image_data(train, test, CLASSES, augment, limit)
    if statistics == "own":
        return data
    return replace(data, facts=dict.fromkeys(("mean", "std"), torch.full((3,), 0.5)))


def find(root: Path, download: bool) -> Path:
    """The folder with all four files."""
    below = root / "pcam"  # where torchvision puts them
    found = next((f for f in (root, below) if complete(f)), None)
    if found is None and below.is_dir():
        raise damaged(below, "some of its four files are missing")
    if found is None:
        fetched(below, "PCAM", download, fetch)
    return found or below


def path_of(folder: Path, part: str, kind: str) -> Path:
    return folder / f"camelyonpatch_level_2_split_{part}_{kind}.h5"


def complete(folder: Path) -> bool:
    return all(path_of(folder, part, kind).is_file() for part in PARTS for kind in "xy")


def fetch(folder: str) -> None:
    from torchvision.datasets import PCAM  # imports in 3 s and is needed for a download only

    for part in PARTS:
        PCAM(folder, split=part, download=True)
    for packed in Path(folder).rglob("*.gz"):  # 7 GB
        packed.unlink()


@contextmanager
def opened(path: Path, name: str) -> Iterator[h5py.Dataset]:
    try:
        with h5py.File(path) as content:
            yield content[name]
    except (OSError, KeyError, RuntimeError) as error:
        raise damaged(path, error) from error


def read_labels(folder: Path, part: str) -> Tensor:
    with opened(path_of(folder, part, "y"), "y") as y:  # (n, 1, 1, 1)
        return torch.from_numpy(y[:]).reshape(-1).long()


def describe(folder: Path, part: str, crop: int | None) -> Encoded:
    path = path_of(folder, part, "x")
    with opened(path, "x") as x:
        if x.ndim != 4 or x.dtype != "uint8":
            raise BadInput(
                f"{path} holds {x.dtype} of shape {x.shape}, not bytes (n, 96, 96, 3); "
                "delete it and run again"
            )
        n, height, width, channels = x.shape
    side = height if crop is None else crop
    require(
        isinstance(side, int) and 0 < side <= min(height, width),
        f"dataset.crop={crop} pixels is no part of images of {height}x{width}; null keeps all",
    )
    origin = ["pcam", str(path.resolve()), stamp(path), side]
    return Encoded((n, channels, side, side), origin, partial(chunks, path, side))


def chunks(path: Path, side: int) -> Iterator[Tensor]:
    with opened(path, "x") as x:
        top, left = (x.shape[1] - side) // 2, (x.shape[2] - side) // 2
        for start in range(0, len(x), ROWS):
            part = x[start : start + ROWS, top : top + side, left : left + side]
            yield torch.from_numpy(part).permute(0, 3, 1, 2)
