"""Your own images: folder/{train,test}/<class>/*.png (any format that Pillow reads)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from antidote.core import Augment, BadInput, Data, Samples, require
from antidote.dataset.images import image_data, kept
from antidote.dataset.mapped import Encoded, decode, place, stamp

KINDS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
ROWS = 256  # decoded at a time


def image_folder(
    folder: str | None,
    size: int,
    channels: int,
    augment: Augment,
    limit: int | None,
    memory_map: bool = False,
    decoded: str | None = None,
) -> Data:
    """Images resized to `size` x `size`, `channels` 1 (grey) or 3 (RGB).

    A sample's id is its place in path order, among the images that `limit` keeps. Raises `BadInput`
    for a folder without images or with classes in test that train does not have.
    """
    require(channels in (1, 3), f"dataset.channels={channels} is neither 1 (grey) nor 3 (RGB)")
    root = Path(folder) if folder else None
    if root is None or not (root / "train").is_dir() or not (root / "test").is_dir():
        raise BadInput(
            f"dataset.folder={folder} has no train/ and test/ folders with one folder of images "
            "per class; dataset=digits works offline without any folder"
        )
    keep = place(memory_map, decoded)
    classes = tuple(sorted(p.name for p in (root / "train").iterdir() if p.is_dir()))
    files, labels = listed(root / "train", classes)
    rows = kept(labels, limit)  # only they are decoded
    chosen = [files[i] for i in torch.arange(len(files))[rows].tolist()]
    parts = [(chosen, labels[rows]), listed(root / "test", classes)]
    train, test = (
        Samples(decode(encoded(files, size, channels, crop=False), keep), labels)
        for files, labels in parts
    )
    return image_data(train, test, classes, augment, limit)


def paths(folder: str | Path) -> list[Path]:
    """All image files of one part, in the order that gives each its id."""
    return sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in KINDS)


def listed(folder: Path, classes: tuple[str, ...]) -> tuple[list[Path], Tensor]:
    """Files and labels of one part."""
    files = paths(folder)
    require(
        bool(files),
        f"{folder} holds no images ({', '.join(sorted(KINDS))}); dataset=digits works offline",
    )
    names = [p.relative_to(folder).parts[0] for p in files]
    strange = sorted(set(names) - set(classes))
    require(not strange, f"{folder} has class folders that train/ lacks: {', '.join(strange)}")
    return files, torch.tensor([classes.index(name) for name in names])


def encoded(files: list[Path], size: int, channels: int, crop: bool) -> Encoded:
    """`crop` keeps the proportions and the largest square in the middle; else all is squashed."""
    require(size > 0, f"dataset.size={size} pixels is no image; give at least 11 for ResNet-9")
    origin = [PIL.__version__, crop, [(str(p.absolute()), *stamp(p)) for p in files]]
    work = partial(chunks, files, size, channels, crop)
    return Encoded((len(files), channels, size, size), origin, work)


def chunks(files: list[Path], size: int, channels: int, crop: bool) -> Iterator[Tensor]:
    for start in range(0, len(files), ROWS):
        some = files[start : start + ROWS]
        yield torch.stack([read(path, size, channels, crop) for path in some])


def read(path: Path, size: int, channels: int, crop: bool) -> Tensor:
    fit = ImageOps.fit if crop else Image.Image.resize
    try:
        with Image.open(path) as image:
            fitted = fit(image.convert("L" if channels == 1 else "RGB"), (size, size))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise BadInput(
            f"{path} cannot be read as an image ({error}); remove it or replace it"
        ) from error
    return torch.from_numpy(np.array(fitted)).view(size, size, channels).permute(2, 0, 1)
