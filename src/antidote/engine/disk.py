"""Files that appear whole or not at all, and locks that say what they wait for."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)


def write(path: Path, content: bytes | str) -> Path:
    """Under a temporary name first, so that a killed process leaves no half file.

    Text that is not Unicode (a file name on Linux may be any bytes) is written with replacements.
    """
    half = path.with_name(path.name + ".half")
    raw = content.encode(errors="replace") if isinstance(content, str) else content
    try:
        half.write_bytes(raw)
    except OSError:
        half.unlink(missing_ok=True)  # a full disk: the half file would keep it full
        raise
    return half.replace(path)


def digest_of(path: Path) -> str:
    """SHA-256 of a file's bytes; those of one that has not changed are read once."""
    about = path.stat()
    return digest_at(path, about.st_size, about.st_mtime_ns)


@functools.lru_cache(64)
def digest_at(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as raw:
        return hashlib.file_digest(raw, "sha256").hexdigest()


def as_json(thing: Any, **how: Any) -> str:
    """JSON that every reader takes: ValueError for NaN and infinities."""
    return json.dumps(thing, allow_nan=False, **how)


def me() -> dict[str, Any]:
    """Who holds or runs something."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%F %T")}


class Lock:
    """A lock on `path`.lock; whoever waits for it is told who holds it, and for what.

    A killed process frees it.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.lock, self.what = FileLock(f"{path}.lock"), what
        self.holder = Path(f"{path}.holder")

    def acquire(self) -> None:
        self.holder.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.lock.acquire(timeout=0.2)
        except Timeout:
            log.info("waiting for %s, which %s", self.what, self.whose())
            self.lock.acquire()
        with suppress(OSError):  # only told to whoever waits
            write(self.holder, json.dumps(me()))

    def whose(self) -> str:
        try:
            by = json.loads(self.holder.read_text())
            return f"process {by['pid']} on {by['host']} has held since {by['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process holds"

    def free(self) -> bool:
        """Whether nobody holds it at this moment."""
        if not Path(self.lock.lock_file).exists():
            return True
        try:
            with self.lock.acquire(timeout=0):
                return True
        except Timeout:
            return False

    def release(self) -> None:
        if self.lock.is_locked:
            with suppress(OSError):
                self.holder.unlink(missing_ok=True)
        self.lock.release()

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()
