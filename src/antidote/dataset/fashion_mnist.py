"""Fashion-MNIST (Zalando Research, MIT licence): 60,000 + 10,000 grey 28x28 images, ten classes."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from antidote.core import Augment, BadInput, Data, Samples
from antidote.dataset.images import image_data

CLASSES = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
# where the package dataset-fashion-mnist puts it
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
OFFLINE = (
    "dataset=digits works offline, and `apt-get install dataset-fashion-mnist` brings the data "
    "where apt is present"
)


def fashion_mnist(folder: str, augment: Augment, download: bool, limit: int | None) -> Data:
    """The images from `folder`, else Debian's package, else torchvision's download into `folder`.

    Raises `BadInput` where none of the three has it.
    """
    found = next(
        (f for f in (Path(folder), Path(folder) / "FashionMNIST/raw", DEBIAN) if has_images(f)),
        None,
    )
    if found is None:
        found = fetch(Path(folder), download)
    train, test = (
        Samples(
            read_idx(found, f"{part}-images-idx3-ubyte").unsqueeze(1),
            read_idx(found, f"{part}-labels-idx1-ubyte").long(),
        )
        for part in ("train", "t10k")
    )
    return image_data(train, test, CLASSES, augment, limit)


def has_images(folder: Path) -> bool:
    return any(folder.glob("train-images-idx3-ubyte*"))


def fetch(folder: Path, download: bool) -> Path:
    if not download:
        raise BadInput(f"no Fashion-MNIST in {folder} and dataset.download=false; {OFFLINE}")
    from torchvision.datasets import (
        FashionMNIST,
    )  # imports in 3 s and is needed for a download only

    try:
        FashionMNIST(str(folder), download=True)
    except Exception as error:
        raise BadInput(
            f"no Fashion-MNIST in {folder} and its download failed ({error}); {OFFLINE}"
        ) from error
    return folder / "FashionMNIST/raw"


def read_idx(folder: Path, name: str) -> Tensor:
    """An IDX file of bytes, plain or gzipped.

    It holds magic 0x000008 and the rank, big-endian sizes, then the bytes.
    """
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise BadInput(
            f"{folder} lacks {name}; delete the folder and run again to fetch all four files"
        )
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        rank = raw[3]
        sizes = np.frombuffer(raw, ">u4", rank, 4)
        return torch.from_numpy(
            np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(sizes).copy()
        )
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise BadInput(f"{path} is damaged ({error}); delete it and run again") from error
