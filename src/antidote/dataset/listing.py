"""Which files of a folder are read as images of which class, and which are passed over."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from antidote.core import BadInput, require
from antidote.dataset.picture import kinds

MOST = 20  # classes or kinds that a line of the log names one by one
HIDDEN, BROKEN = "with a name that begins with a dot", "that is a link to nothing"


@dataclass(frozen=True)
class Listing:
    """Image files of one part with their labels (n,); `over`: how many of what was passed over."""

    files: list[Path]
    labels: Tensor
    classes: tuple[str, ...]
    over: Counter[str] = field(default_factory=Counter)

    def take(self, rows: Tensor) -> Listing:
        return replace(self, files=[self.files[i] for i in rows.tolist()], labels=self.labels[rows])


def listed(folder: Path, classes: tuple[str, ...] | None = None) -> Listing:
    """All images below a folder with one folder per class; `classes`: those that there may be.

    Raises `BadInput` for a class folder without images, for one that is none of `classes`, and for
    images beside the class folders.
    """
    files, over = images(folder)
    also = f" ({counted(over)} passed over)" if over else ""
    require(bool(files), f"{folder} holds no images{also}; dataset=digits works offline")
    names = [p.relative_to(folder).parts for p in files]
    beside = [parts[0] for parts in names if len(parts) == 1]
    require(
        not beside,
        f"{folder} has {len(beside)} images beside its class folders, {', '.join(beside[:3])} "
        "first; move each into the folder of its class",
    )
    here = class_folders(folder)
    known = here if classes is None else classes
    strange = sorted(set(here) - set(known))
    require(not strange, f"{folder} has class folders that train/ lacks: {', '.join(strange)}")
    empty = sorted(set(here) - {parts[0] for parts in names})
    require(
        not empty,
        f"{folder} has class folders without an image that Pillow can open: {briefly(empty)}{also}"
        "; remove them or fill them",
    )
    place = {name: k for k, name in enumerate(known)}
    return Listing(files, torch.tensor([place[parts[0]] for parts in names]), known, over)


def class_folders(folder: Path) -> tuple[str, ...]:
    """In the order that numbers the classes."""
    return tuple(
        sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    )


def paths(folder: str | Path) -> list[Path]:
    """All images below a folder, in the order that gives each its id."""
    return images(folder)[0]


def images(folder: str | Path) -> tuple[list[Path], Counter[str]]:
    """(images in path order, how many other files there are of which kind); links are followed."""
    found: list[Path] = []
    over: Counter[str] = Counter()
    for path in inside(Path(folder)):
        if path.name.startswith("."):
            over[HIDDEN] += 1
        elif not path.is_file():
            over[BROKEN] += 1
        elif path.suffix.lower() in kinds():
            found.append(path)
        else:
            over[path.suffix.lower() or "without an ending"] += 1
    return sorted(found), over


def inside(folder: Path) -> Iterator[Path]:
    """All files below a folder, and folders whose name begins with a dot in place of theirs."""

    def refuse(error: OSError) -> None:
        raise BadInput(f"{error.filename} cannot be listed ({error.strerror})") from error

    for at, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        here = Path(at).resolve()
        yield from (Path(at, name) for name in [*names, *(f for f in folders if f[0] == ".")])
        # a link to a folder that it lies in would lead round and round
        folders[:] = [
            name
            for name in folders
            if name[0] != "." and not here.is_relative_to(Path(at, name).resolve())
        ]


def counted(things: Counter[str]) -> str:
    """ "3 .txt, 1 without an ending" """
    return briefly([f"{n} {what}" for what, n in things.most_common()])


def per_class(labels: Tensor, classes: Sequence[str]) -> str:
    """ "cat 40, dog 38" """
    counts = labels.bincount(minlength=len(classes)).tolist()
    return briefly([f"{name} {n}" for name, n in zip(classes, counts, strict=True)])


def briefly(things: Sequence[str]) -> str:
    more = len(things) - MOST
    return ", ".join([*things[:MOST], *([f"and {more} more"] if more > 0 else [])])
