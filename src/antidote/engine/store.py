"""What finished stages leave, by fingerprint: victims, importances, tries of searches, measures.

An entry is one safetensors object <place>/<kind>/<key>.safetensors, whose header says what it is of
and how long the work took, and holds a seal over key, header and tensors. It appears whole or not
at all; what is damaged, swapped or changed is noticed when it is read, and made again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
from safetensors.torch import load, save
from torch import Tensor

from antidote.core.checks import BadInput, one_of
from antidote.core.data import digest
from antidote.engine.disk import Lock, write

log = logging.getLogger(__name__)
MODES = ("on", "off", "refresh")
Tensors = dict[str, Tensor]
About = dict[str, Any]


class Store:
    """`place`: a folder, or any URL that fsspec knows (s3://, gs://, ssh://, ...).

    `mode`: "on", "off" (neither reads nor writes) or "refresh" (works and keeps anew). No two
    processes of one machine do the same work.
    """

    def __init__(self, place: str | Path, mode: str | bool = "on") -> None:
        if isinstance(mode, bool):  # YAML reads a bare on or off as a truth value
            mode = "on" if mode else "off"
        one_of("cache", mode, MODES)
        place = str(place).removeprefix("file://")
        self.mode, self.local = mode, "://" not in place
        if self.local:
            self.root, self.files = str(Path(place).expanduser()), fsspec.filesystem("file")
            return
        try:
            self.files, self.root = fsspec.url_to_fs(place)
        except (ImportError, ValueError) as error:
            raise BadInput(
                f"store={place} cannot be opened ({error}); give a folder, or an address whose "
                "file system is installed"
            ) from error

    def path(self, kind: str, key: str) -> str:
        return f"{self.root}/{kind}/{key}.safetensors"

    def lock(self, kind: str, key: str) -> Lock:
        here = self.root
        if not self.local:
            here = f"{tempfile.gettempdir()}/antidote-{hashlib.sha256(here.encode()).hexdigest()}"
        return Lock(Path(here, kind, key), f"{kind} {key}")

    def fetch(
        self, kind: str, key: str, work: Callable[[], Tensors], **about: Any
    ) -> tuple[Tensors, float]:
        """`work()`, or what it returned before: (tensors, seconds of work that were spared)."""
        found = self.read(kind, key)
        if found is not None:
            return found[0], found[1]["seconds"]
        if self.mode == "off":
            return work(), 0.0
        with self.lock(kind, key):
            found = self.read(kind, key)
            if found is not None:  # another process was faster
                return found[0], found[1]["seconds"]
            began = time.perf_counter()
            tensors = work()
            self.write(kind, key, tensors, seconds=time.perf_counter() - began, **about)
            return tensors, 0.0

    def read(self, kind: str, key: str) -> tuple[Tensors, About] | None:
        """(tensors, what is said about them), or None where there is nothing sound."""
        if self.mode != "on":
            return None
        path = self.path(kind, key)
        try:
            raw = self.files.cat_file(path)
        except FileNotFoundError:
            return None
        try:
            length = int.from_bytes(raw[:8], "little")
            tensors, head = load(raw), json.loads(raw[8 : 8 + length])["__metadata__"]
            if seal(kind, key, head["about"], tensors) != head["seal"]:
                raise ValueError("its seal does not match")
            return tensors, json.loads(head["about"])
        except Exception as error:  # safetensors raises what it likes
            log.warning("%s is damaged (%s) and is made again", path, error)
            return None

    def about(self, kind: str, key: str) -> About | None:
        """What an entry says about itself, its tensors unread; None where there is none."""
        path = self.path(kind, key)
        try:
            length = int.from_bytes(self.files.cat_file(path, 0, 8), "little")
            head = json.loads(self.files.cat_file(path, 8, 8 + min(length, 2**27)))
            return json.loads(head["__metadata__"]["about"]) | {"bytes": self.files.size(path)}
        except Exception:  # missing or damaged: a run makes it again
            return None

    def all(self, kind: str) -> Iterator[tuple[str, About]]:
        """(key, what it says about itself) of every entry."""
        folder = f"{self.root}/{kind}"  # listed, since in a pattern [x] is no name
        paths = self.files.ls(folder, detail=False) if self.files.exists(folder) else []
        for path in sorted(p for p in paths if p.endswith(".safetensors")):
            key = path.rpartition("/")[2].removesuffix(".safetensors")
            about = self.about(kind, key)
            if about is not None:
                yield key, about

    def write(self, kind: str, key: str, tensors: Tensors, **about: Any) -> None:
        """Keeps an entry; the caller holds its lock."""
        if self.mode == "off":
            return
        tensors = {n: t.detach().cpu().contiguous().clone() for n, t in tensors.items()}
        text = json.dumps(
            about | {"weights": digest(*(tensors[n] for n in tensors))}, sort_keys=True
        )
        raw = save(tensors, {"about": text, "seal": seal(kind, key, text, tensors)})
        path = self.path(kind, key)
        if self.local:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            write(Path(path), raw)
        else:
            self.files.makedirs(path.rpartition("/")[0], exist_ok=True)
            self.files.pipe_file(path, raw)


def seal(kind: str, key: str, about: str, tensors: Tensors) -> str:
    """SHA-256 of all that an entry is read for, and of what it is read as."""
    names = sorted(tensors)
    parts = [kind, key, about, *names, digest(*(tensors[n] for n in names))]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
