"""Your own images: folder/{train,test}/<class>/*.png (any format that Pillow reads)."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from antidote.core import Augment, BadInput, Data, Samples, require
from antidote.dataset.images import image_data

KINDS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}


def image_folder(
    folder: str | None, size: int, channels: int, augment: Augment, limit: int | None
) -> Data:
    """Images resized to `size` x `size`, `channels` 1 (grey) or 3 (RGB).

    A sample's id is its place in path order. Raises `BadInput` for a folder without images or with
    classes in test that train does not have.
    """
    require(channels in (1, 3), f"dataset.channels={channels} is neither 1 (grey) nor 3 (RGB)")
    root = Path(folder) if folder else None
    if root is None or not (root / "train").is_dir() or not (root / "test").is_dir():
        raise BadInput(
            f"dataset.folder={folder} has no train/ and test/ folders with one folder of images "
            "per class; dataset=digits works offline without any folder"
        )
    classes = tuple(sorted(p.name for p in (root / "train").iterdir() if p.is_dir()))
    parts = [read(root / part, classes, size, channels) for part in ("train", "test")]
    return image_data(parts[0], parts[1], classes, augment, limit)


def paths(folder: str | Path) -> list[Path]:
    """All image files of one part, in the order that gives each its id."""
    return sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in KINDS)


def read(folder: Path, classes: tuple[str, ...], size: int, channels: int) -> Samples:
    files = paths(folder)
    require(
        bool(files),
        f"{folder} holds no images ({', '.join(sorted(KINDS))}); dataset=digits works offline",
    )
    names = [p.relative_to(folder).parts[0] for p in files]
    strange = sorted(set(names) - set(classes))
    require(not strange, f"{folder} has class folders that train/ lacks: {', '.join(strange)}")
    x = torch.stack([decode(p, size, channels) for p in files])
    return Samples(x, torch.tensor([classes.index(name) for name in names]))


def decode(path: Path, size: int, channels: int) -> Tensor:
    try:
        with Image.open(path) as image:
            return pil_to_tensor(
                image.convert("L" if channels == 1 else "RGB").resize((size, size))
            )
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise BadInput(
            f"{path} cannot be read as an image ({error}); remove it or replace it"
        ) from error
