"""What the tries of a search gave, kept across runs: a file that grows with each search.

cache/paths/<key>.json, sealed by a SHA-256; a damaged one is noticed and begun again. The numbers
of a try do not depend on when a search stops, so searches that differ only in that share one.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from filelock import FileLock

from antidote.cache import Cache
from antidote.core import Tries
from antidote.disk import write

log = logging.getLogger(__name__)


class Ledger:
    """The record of one search. Two jobs may both read it and add to it; nothing is lost."""

    def __init__(self, cache: Cache, parts: dict[str, Any], of: str) -> None:
        entry = cache.entry("paths", parts)
        self.path, self.parts, self.mode = entry.path.with_suffix(".json"), entry.parts, cache.mode
        self.of = of

    def read(self) -> Tries:
        """What is known; nothing unless the cache is on."""
        return read(self.path) if self.mode == "on" else {}

    def add(self, tries: Tries) -> None:
        """Keeps these tries besides those on disk, or in their place if the cache is refreshed."""
        if self.mode == "off" or not tries:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_suffix(".lock")):
            every = tries | self.read()
            rows = {str(t): every[t] for t in sorted(every)}
            about = {"sha256": seal(rows), "of": self.of, "parts": self.parts, "tries": rows}
            write(self.path, json.dumps(about, indent=1))


def read(path: Path) -> Tries:
    """The tries in a ledger's file; none if it is missing or damaged."""
    try:
        about = json.loads(path.read_text())
        if seal(about["tries"]) != about["sha256"]:
            raise ValueError("its SHA-256 does not match")
        return {int(t): row for t, row in about["tries"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("search path %s is damaged (%s) and is begun again", path, error)
        return {}


def seal(rows: Any) -> str:
    """SHA-256 of what a ledger is read for."""
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
