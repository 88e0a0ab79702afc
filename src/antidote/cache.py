"""A content-addressed store of finished stages: victims and importances.

An entry is a folder cache/<stage>/<key>/ with `tensors.safetensors` and `entry.json` (what the key
was made of, the seconds the work took, and the SHA-256 of tensors and seconds). It is written under
a temporary name and renamed, so a killed process leaves no half entry; a damaged one is noticed
when it is read and computed again.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import logging
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors.torch import load, save
from torch import Tensor

from antidote.checks import require

log = logging.getLogger(__name__)
MODES = ("on", "off", "refresh")


def digest(*tensors: Tensor) -> str:
    """SHA-256 over types, shapes and bytes."""
    h = hashlib.sha256()
    for t in tensors:
        h.update(f"{t.dtype}{tuple(t.shape)}".encode())
        h.update(t.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return h.hexdigest()


@functools.cache
def code_version(*modules: str) -> str:
    """Hash of the modules' code; editing comments, docstrings and layout keeps the cache valid."""
    h = hashlib.sha256()
    for name in sorted(modules):
        source = sys.modules[name].__file__
        assert source is not None
        tree = ast.parse(Path(source).read_text())
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if (
                isinstance(body, list)
                and body
                and isinstance(body[0], ast.Expr)
                and isinstance(body[0].value, ast.Constant)
            ):
                del body[0]
        h.update(ast.dump(tree).encode())
    return h.hexdigest()


def modules_of(*things: Any) -> tuple[str, ...]:
    """The antidote modules that classes, functions and instances come from."""
    names = {getattr(t, "__module__", None) or type(t).__module__ for t in things}
    return tuple(sorted(n for n in names if n.startswith("antidote.")))


def name_of(thing: Any) -> str:
    """How a key spells what JSON does not know: functions and classes by their path."""
    if callable(thing) and hasattr(thing, "__qualname__"):
        return f"{thing.__module__}.{thing.__qualname__}"
    raise TypeError(f"{thing!r} cannot be part of a cache key")


class Cache:
    """`mode`: "on", "off" (neither reads nor writes) or "refresh" (computes and stores anew)."""

    def __init__(self, folder: str | Path, mode: str | bool) -> None:
        if isinstance(mode, bool):  # YAML reads a bare on or off as a truth value
            mode = "on" if mode else "off"
        require(mode in MODES, f"cache={mode} is unknown; choose {', '.join(MODES)}")
        self.folder, self.mode = Path(folder), mode

    def entry(self, stage: str, parts: dict[str, Any], of: str = "") -> Entry:
        text = json.dumps(parts, sort_keys=True, default=name_of)
        key = hashlib.sha256(text.encode()).hexdigest()[:24]
        return Entry(self.folder / stage / key, json.loads(text), self.mode, of)

    def fetch(
        self,
        stage: str,
        parts: dict[str, Any],
        work: Callable[[], dict[str, Tensor]],
        of: str = "",
    ) -> tuple[dict[str, Tensor], float]:
        """`work()`, or what it returned before: (tensors, seconds of work that were spared)."""
        with self.entry(stage, parts, of) as entry:
            found = entry.read()
            if found is not None:
                return found
            began = time.perf_counter()
            tensors = work()
            entry.write(tensors, time.perf_counter() - began)
            return tensors, 0.0


class Entry:
    """One entry, locked from `with` to `release` or block end: no two jobs do the same work.

    `of`: hash of the settings that asked for it; no part of the key, but a plan finds it by that.
    """

    def __init__(self, path: Path, parts: dict[str, Any], mode: str, of: str) -> None:
        self.path, self.parts, self.mode, self.of = path, parts, mode, of
        self.lock = FileLock(path.with_suffix(".lock"))

    def __enter__(self) -> Entry:
        if self.mode != "off":
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.lock.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def release(self) -> None:
        self.lock.release()

    def read(self) -> tuple[dict[str, Tensor], float] | None:
        """(tensors, seconds the work had taken), or None where there is nothing sound."""
        if self.mode != "on" or not self.path.exists():
            return None
        try:
            about = json.loads((self.path / "entry.json").read_text())
            raw = (self.path / "tensors.safetensors").read_bytes()
            if seal(raw, about["seconds"]) != about["sha256"]:
                raise ValueError("its SHA-256 does not match")
            return load(raw), about["seconds"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("cache entry %s is damaged (%s) and is computed again", self.path, error)
            return None

    def write(self, tensors: dict[str, Tensor], seconds: float) -> None:
        if self.mode == "off":
            return
        half = self.path.with_suffix(".half")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir()
        raw = save({n: t.detach().cpu().contiguous() for n, t in tensors.items()})
        (half / "tensors.safetensors").write_bytes(raw)
        sealed = {"sha256": seal(raw, seconds), "seconds": seconds}
        about = sealed | {"of": self.of, "parts": self.parts}
        (half / "entry.json").write_text(json.dumps(about, indent=1))
        shutil.rmtree(self.path, ignore_errors=True)
        half.replace(self.path)


def seal(raw: bytes, seconds: float) -> str:
    """SHA-256 of what an entry is read for."""
    return hashlib.sha256(raw + repr(seconds).encode()).hexdigest()
