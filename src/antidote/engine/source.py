"""The data of a cell, and their fingerprint, which is that of their bytes.

The bytes are hashed once; afterwards the fingerprint is looked up by the settings, the code, and
the names, sizes and times of every file and folder that was read. Where one of those has changed
the data are read and hashed again.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from antidote.core import Data, require
from antidote.core.data import described, digest, fingerprint
from antidote.engine.cell import Cell
from antidote.engine.code import code, paths_of, targets
from antidote.engine.modules import installed
from antidote.engine.store import Store

KIND = "data"
MANY = 64  # files read in one folder; of more the folder is stamped as a whole
SYSTEM = ("/proc/", "/sys/", "/dev/")
_reads: list[set[str]] = []  # sets that are being filled at the moment
_hooked: list[bool] = []
_last: dict[tuple[str, torch.device], Data] = {}


def key_of(cell: Cell) -> str:
    """What the data are looked up by, before anything is known of the files."""
    settings = cell.settings["dataset"]
    here = os.getcwd()  # noqa: PTH109  what relative paths start from
    return fingerprint("data", settings, here, code(["antidote.core", *targets(settings)]))


def known(cell: Cell, store: Store) -> str | None:
    """The fingerprint of the data without reading them; None if they have to be read for it."""
    entry = store.read(KIND, key_of(cell))
    if entry is None or any(stamp(path) != before for path, before in entry[1]["stamps"].items()):
        return None
    return entry[1]["data"]


def load(cell: Cell, store: Store, device: torch.device) -> tuple[Data, str]:
    """The data, and their fingerprint. What this process read last is not read again."""
    found = known(cell, store)
    if found is None or (found, device) not in _last:
        with reads() as paths:
            data: Data = cell.build("dataset")
        check(data)
        if found is None:
            found = fingerprint_of(data)
            keep(cell, store, found, paths)
        _last.clear()
        _last[found, device] = data.to(device)
    return _last[found, device], found


def check(data: Data) -> None:
    """Raises `BadInput` for labels that no classifier can be trained or measured on."""
    K = data.num_classes
    for kind, y in (("training", data.train.y), ("test", data.test.y)):
        low, high = int(y.min()), int(y.max())
        require(
            0 <= low <= high < K,
            f"the {kind} labels go from {low} to {high}, but the data set has {K} classes, which "
            "count from 0",
        )
    here = data.train.y.unique()
    require(
        len(here) > 1,
        f"all {len(data.train)} training samples are of one class, {data.classes[int(here[0])]}; "
        "there must be two to tell apart: add one, or raise dataset.limit",
    )


def fingerprint_of(data: Data) -> str:
    parts = [digest(p.x, p.y) for p in (data.train, data.test)]
    augment = [described(data.augment), code(paths_of([data.augment]))]
    # by which samples may be named; to data without names they add nothing
    names = [data.names] if data.names else []
    return fingerprint(parts, data.classes, dict(data.facts), augment, *names)


def keep(cell: Cell, store: Store, found: str, paths: set[str]) -> None:
    if store.mode == "off":
        return
    named = {str(Path(s).expanduser().absolute()) for s in strings(cell.settings["dataset"])}
    named = {name for name in named if os.path.exists(name)}  # noqa: PTH110
    unread = {s for s in named if not any(p == s or p.startswith(f"{s}/") for p in paths)}
    whole = {path for name in unread for path in (name, *(at for at, _, _ in os.walk(name)))}
    stamps = {path: stamp(path) for path in sorted({*grouped(paths), *whole})}
    with store.lock(KIND, key_of(cell)):
        store.write(KIND, key_of(cell), {}, data=found, stamps=stamps)


def strings(settings: Any) -> Iterator[str]:
    if isinstance(settings, str):
        yield settings
    elif isinstance(settings, dict | list):
        for value in settings.values() if isinstance(settings, dict) else settings:
            yield from strings(value)


def grouped(paths: Iterable[str]) -> Iterator[str]:
    """The paths, and in place of many files of one folder that folder."""
    folders: dict[str, list[str]] = {}
    for path in paths:
        folders.setdefault(os.path.dirname(path), []).append(path)  # noqa: PTH120
    for folder, inside in folders.items():
        files = [p for p in inside if not os.path.isdir(p)]  # noqa: PTH112
        yield from files if len(files) <= MANY else [folder]
        yield from (p for p in inside if p not in set(files))


def stamp(path: str) -> str:
    """Size and time of a file; names, sizes and times of what a folder holds; "absent"."""
    try:
        about = os.stat(path)  # noqa: PTH116
        if not stat.S_ISDIR(about.st_mode):
            return f"{about.st_size} {about.st_mtime_ns}"
        with os.scandir(path) as inside:
            lines = sorted(
                f"{e.name} {e.stat().st_size} {e.stat().st_mtime_ns}" if e.is_file() else e.name
                for e in inside
            )
    except OSError:
        return "absent"
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


@contextmanager
def reads() -> Iterator[set[str]]:
    """All files that Python opens for reading, and all folders it lists, in this block.

    Not those of installed packages, which count by their version, nor those of importing.
    """
    if not _hooked:
        sys.addaudithook(audit)
        _hooked.append(True)
    paths: set[str] = set()
    _reads.append(paths)
    try:
        yield paths
    finally:
        _reads.remove(paths)


def audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _reads or event not in ("open", "os.listdir", "os.scandir"):
        return
    path = arguments[0]
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE
    if writes or not isinstance(path, str | bytes | os.PathLike):
        return
    full = os.path.abspath(os.fsdecode(path))  # noqa: PTH100
    if not full.startswith(SYSTEM) and not installed(full) and not importing(full):
        for paths in _reads:
            paths.add(full)


def importing(path: str) -> bool:
    code_file = path.endswith((".py", ".pyc", ".so", ".lock"))
    return code_file or path in sys.path or os.path.exists(f"{path}/__init__.py")  # noqa: PTH110
