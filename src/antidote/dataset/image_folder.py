"""Your own images: folder/train/<class>/*.png, and folder/test/<class>/*.png if there are any."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from antidote.core import Augment, BadInput, Data, Samples
from antidote.dataset.images import Numbers, image_data
from antidote.dataset.listing import Listing, briefly, counted, listed, per_class
from antidote.dataset.mapped import decode, place
from antidote.dataset.picture import canvas, encoded
from antidote.dataset.rows import kept, parted

log = logging.getLogger(__name__)


def image_folder(
    folder: str | None,
    size: int | Sequence[int],
    channels: int,
    augment: Augment,
    limit: int | None,
    fit: str = "squash",
    ground: str = "white",
    mean: Numbers = None,
    std: Numbers = None,
    test_share: float = 0.2,
    seed: int = 0,
    memory_map: bool = False,
    decoded: str | None = None,
) -> Data:
    """Images of `size` x `size` or [height, width] pixels, `channels` 1 (grey) or 3 (RGB).

    A sample's id is its place in path order, among the images that are trained on. Without a test/
    folder `test_share` of each class is held out, drawn by `seed`. `fit`, `ground`: see `Canvas`;
    `mean`, `std`: see `image_data`. Raises `BadInput` for a class without images, and for one in
    test/ that train/ does not have.
    """
    wanted = canvas(size, channels, fit, ground)
    root = None if folder is None else Path(str(folder))  # a folder called 1 is read as a number
    if root is None or not (root / "train").is_dir():
        raise BadInput(
            f"dataset.folder={folder} has no train/ folder with a folder of images for each class "
            "(and a test/ folder beside it, if there is one); dataset=digits works offline "
            "without any folder"
        )
    keep = place(memory_map, decoded)
    whole = listed(root / "train")
    if (root / "test").is_dir():
        train, test = whole, listed(root / "test", whole.classes)
    else:
        train, test = map(whole.take, parted(whole.labels, test_share, seed))
    train = train.take(torch.arange(len(train.files))[kept(train.labels, limit)])
    say(root, train, test)
    read, seen = (Samples(decode(encoded(p.files, wanted), keep), p.labels) for p in (train, test))
    data = image_data(read, seen, whole.classes, augment, None, mean, std)
    return replace(data, names=names(root, train), left_out=names(root, whole, but=train))


def say(root: Path, train: Listing, test: Listing) -> None:
    """What is read, and what is there and is not."""
    for kind, part in (("training", train), ("test", test)):
        told = per_class(part.labels, part.classes)
        log.info("%d %s images by class: %s", len(part.files), kind, told)
    for name, over in {"train": train.over, "test": test.over}.items():
        if over and (root / name).is_dir():
            log.info("passed over in %s: %s", root / name, counted(over))
    beside = sorted(p.name for p in root.iterdir() if p.name not in ("train", "test"))
    if beside:
        log.info("not looked at in %s: %s", root, briefly(beside))


def names(root: Path, part: Listing, but: Listing | None = None) -> tuple[str, ...]:
    """As train/<class>/<file>, of those that are in no other listing."""
    others = set(but.files) if but else set()
    return tuple(p.relative_to(root).as_posix() for p in part.files if p not in others)
