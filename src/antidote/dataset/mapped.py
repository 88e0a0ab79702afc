"""Images that need not fit into memory: decoded once into a flat file, which is then mapped.

The name of the file is the hash of all that determines its bytes, so a changed source is decoded
again. The file is written under another name and renamed when complete, so what a killed process
leaves is never read.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor

from antidote.core import BadInput, require

# without it Linux refuses to map more than RAM and swap together; Python names it from 3.13 on
NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)


@dataclass(frozen=True)
class Encoded:
    """Images still to be decoded.

    `shape` is (n, C, H, W); `origin`, fit for JSON, determines every byte; `chunks()` yields the
    images in order as uint8, few enough at a time to be held in memory.
    """

    shape: tuple[int, int, int, int]
    origin: Any
    chunks: Callable[[], Iterable[Tensor]]


def place(memory_map: bool, decoded: str | None) -> Path | None:
    """The folder of the flat files, or None where images are to be held in memory."""
    require(
        not memory_map or bool(decoded),
        "dataset.memory_map=true needs dataset.decoded, a folder for the decoded images",
    )
    return Path(decoded) if memory_map and decoded else None


def decode(images: Encoded, folder: Path | None) -> Tensor:
    """All images (n, C, H, W): mapped from a file in `folder`, or in memory where that is None."""
    if folder is None:
        return in_memory(images)
    text = json.dumps([images.shape, images.origin])
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.u8"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):  # jobs of a sweep decode once, not side by side
            if not path.exists() or path.stat().st_size != math.prod(images.shape):
                write(images, path)
    except OSError as error:
        raise BadInput(
            f"the decoded images cannot be written to {folder} ({error}); dataset.decoded names "
            "another folder, dataset.memory_map=false holds them in memory"
        ) from error
    return open_mapped(path, images.shape)


def in_memory(images: Encoded) -> Tensor:
    x = torch.empty(images.shape, dtype=torch.uint8)
    done = 0
    for chunk in images.chunks():
        x[done : done + len(chunk)] = chunk
        done += len(chunk)
    return x


def write(images: Encoded, path: Path) -> None:
    size, free = math.prod(images.shape), shutil.disk_usage(path.parent).free
    require(
        size < free,
        f"the decoded images take {size / 1e9:.1f} GB but {path.parent} has {free / 1e9:.1f} GB "
        "free; make room or let dataset.decoded name another folder",
    )
    half = path.with_suffix(".half")
    with half.open("wb") as file:
        for chunk in images.chunks():
            file.write(chunk.contiguous().numpy().data)
    half.replace(path)


def open_mapped(path: Path, shape: tuple[int, ...]) -> Tensor:
    """The bytes of `path`, read from disk page by page as they are used.

    The mapping is private: whoever writes into the tensor changes neither the file nor what
    others see, and no memory is set aside for such writes beforehand.
    """
    with path.open("rb") as file:
        memory = mmap.mmap(
            file.fileno(),
            math.prod(shape),
            flags=mmap.MAP_PRIVATE | NORESERVE,
            prot=mmap.PROT_READ | mmap.PROT_WRITE,
        )
    return torch.frombuffer(memory, dtype=torch.uint8).view(shape)


def stamp(path: Path) -> tuple[str, int, int]:
    """What shows that a file has changed, without reading it: name, size, time."""
    about = path.stat()
    return path.name, about.st_size, about.st_mtime_ns
