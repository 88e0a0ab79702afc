"""Your own arrays: images x and labels y, from .npz, .safetensors or .npy files."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from antidote.core import Augment, BadInput, Data, Samples, as_float, require
from antidote.dataset.array_files import Files, called, has, opened
from antidote.dataset.images import Numbers, image_data
from antidote.dataset.listing import briefly, per_class
from antidote.dataset.rows import parted

log = logging.getLogger(__name__)
LAYOUTS = {"NCHW": (0, 1, 2, 3), "NHWC": (0, 3, 1, 2)}
CHANNELS = range(1, 5)  # what a side that is not of pixels may have


def arrays(
    train: Files | None,
    test: Files | None,
    x: str,
    y: str,
    layout: str | None,
    classes: Sequence[object] | None,
    test_share: float,
    seed: int,
    mean: Numbers,
    std: Numbers,
    limit: int | None,
    augment: Augment,
) -> Data:
    """Images (n, H, W), (n, H, W, C) or (n, C, H, W), uint8 or floats in 0..1; labels (n,).

    `train`, `test`: a file that holds arrays called `x` and `y` (or x_train, train_x, ...), or two
    .npy files. Without a test part `test_share` of each class is held out, drawn by `seed`. Raises
    `BadInput` for a class without training images.
    """
    require(
        layout is None or layout in LAYOUTS,
        f"dataset.layout={layout} is neither NHWC nor NCHW; null goes by the shape",
    )
    if train is None:
        raise BadInput(
            "dataset.train=null names no file; give an .npz or .safetensors file with arrays x and "
            "y, or two .npy files: dataset.train=[x.npy,y.npy]"
        )
    held = opened(train, x, y)
    whole = samples(*called(held, x, y, "train", train), layout, "dataset.train")
    if test is not None:
        pair = called(opened(test, x, y), x, y, "test", test)
        part, seen = whole, samples(*pair, layout, "dataset.test")
    elif has(held, x, y, "test"):
        pair = called(held, x, y, "test", train)
        part, seen = whole, samples(*pair, layout, "the test part of dataset.train")
    else:
        part, seen = map(whole.take, parted(whole.y, test_share, seed))
    part, seen = alike(part, seen)
    names = named(classes, whole.y, seen.y)
    data = image_data(part, seen, names, augment, limit, mean, std)
    for kind, told in (("training", data.train), ("test", data.test)):
        shape = "x".join(map(str, told.x.shape[1:]))
        by_class = per_class(told.y, names)
        log.info("%d %s images of %s by class: %s", len(told), kind, shape, by_class)
    return data


def samples(x: Tensor, y: Tensor, layout: str | None, where: str) -> Samples:
    require(
        len(x) == len(y) > 0,
        f"{where} has {len(x)} images and {len(y)} labels; it needs one for each, and some",
    )
    return Samples(ordered(valued(x, where), layout, where), labels(y, where))


def valued(x: Tensor, where: str) -> Tensor:
    """Bytes as they are, floats in 0..1 as float32."""
    if x.dtype == torch.uint8:
        return x
    require(
        x.dtype.is_floating_point,
        f"{where}: images of {str(x.dtype).removeprefix('torch.')} are neither bytes (uint8) nor "
        "floats in 0..1; convert them, as by x.astype('uint8')",
    )
    x = x.float()
    low, high = x.min().item(), x.max().item()
    require(
        0 <= low <= high <= 1,
        f"{where}: images of floats must be finite and in 0..1, and these go from {low:g} to "
        f"{high:g}; divide them by what white is, and leave normalisation to dataset.mean and std",
    )
    return x


def ordered(x: Tensor, layout: str | None, where: str) -> Tensor:
    """(n, C, H, W)"""
    shape = tuple(x.shape)
    require(x.dim() in (3, 4), f"{where}: {shape} is no shape of images; (n, 32, 32, 3) is one")
    if x.dim() == 3:
        return x.unsqueeze(1)
    fits = [name for name, axes in LAYOUTS.items() if shape[axes[1]] in CHANNELS]
    require(
        layout is not None or len(fits) == 1,
        f"{where}: the shape {shape} does not tell which side is that of the channels; say "
        "dataset.layout=NHWC or dataset.layout=NCHW",
    )
    return x.permute(LAYOUTS[layout or fits[0]]).contiguous()


def labels(y: Tensor, where: str) -> Tensor:
    """(n,) int64"""
    shape, kind = tuple(y.shape), str(y.dtype).removeprefix("torch.")
    require(
        shape in {(len(y),), (len(y), 1)} and not y.dtype.is_floating_point,
        f"{where}: labels of {kind} and shape {shape} are no whole number for each image; give the "
        "number of its class, from 0 on",
    )
    y = y.reshape(-1).long()
    require(int(y.min()) >= 0, f"{where}: labels go down to {int(y.min())}; classes count from 0")
    return y


def alike(train: Samples, test: Samples) -> tuple[Samples, Samples]:
    """Of one shape and one type."""
    shapes = [tuple(part.x.shape[1:]) for part in (train, test)]
    require(
        shapes[0] == shapes[1],
        f"training images are {shapes[0]} and test images {shapes[1]}: channels, height and width "
        "must be the same",
    )
    if train.x.dtype != test.x.dtype:
        train, test = (Samples(as_float(part.x), part.y) for part in (train, test))
    return train, test


def named(classes: Sequence[object] | None, train: Tensor, test: Tensor) -> tuple[str, ...]:
    """Names of the classes, each of which has training images."""
    most = max(int(train.max()), int(test.max()))
    require(
        most < len(train),
        f"labels go up to {most}, but there are {len(train)} training images; classes count from 0 "
        "on, one after the other",
    )
    names = tuple(map(str, range(most + 1) if classes is None else classes))
    require(
        len(names) > most,
        f"dataset.classes names {len(names)} classes, but labels go up to {most}, from 0 on",
    )
    require(len(set(names)) == len(names), f"dataset.classes={list(names)} has a name twice")
    counts = train.bincount(minlength=len(names)).tolist()
    empty = [name for name, n in zip(names, counts, strict=True) if not n]
    require(
        not empty,
        f"there is no training image of class {briefly(empty)}; classes count from 0 on, one after "
        "the other",
    )
    return names
