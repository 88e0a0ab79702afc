"""What the data sets that torchvision fetches share: a missing or damaged one is one sentence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from antidote.core import BadInput, require

OFFLINE = (
    "dataset=digits works offline, and so do dataset=fashion_mnist once `make data` has been run "
    "and dataset=cifar10 once `make cifar10` has"
)


def fetched(place: Path, name: str, download: bool, work: Callable[[str], object]) -> None:
    """Lets `work(folder)` download; its folder/<place.name> is moved to `place` when complete.

    So nobody takes for data what a killed or a running download has left. torchvision takes 3 s to
    import, so `work` imports it.
    """
    folder = place.parent
    require(download, f"no {name} in {folder} and dataset.download=false; {OFFLINE}")
    half = folder / ".download"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".download.lock"):
            if place.exists():  # another job was faster
                return
            shutil.rmtree(half, ignore_errors=True)
            work(str(half))
            (half / place.name).replace(place)
            shutil.rmtree(half)
    except Exception as error:
        raise BadInput(
            f"no {name} in {folder} and its download failed ({in_short(error)}); {OFFLINE}"
        ) from error


def damaged(path: Path, error: Exception | str) -> BadInput:
    return BadInput(f"{path} is damaged ({in_short(error)}); delete it and run again")


def in_short(error: Exception | str) -> str:
    """An error as part of a sentence: one line without full stops."""
    text = " ".join(str(error).split()).rstrip(".").replace(". ", "; ")
    return text or type(error).__name__
