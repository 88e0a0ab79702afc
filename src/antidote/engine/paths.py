"""Paths in settings: where they lead, and what they stand for in a cell's identity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from antidote.engine.disk import digest_of


def at_home(settings: Any) -> Any:
    """Settings with ~ spelled out in all paths, also in those that a file of options names."""
    if isinstance(settings, dict):
        return {key: at_home(value) for key, value in settings.items()}
    if isinstance(settings, list):
        return [at_home(value) for value in settings]
    inside = isinstance(settings, str) and (settings == "~" or settings.startswith("~/"))
    return str(Path(settings).expanduser()) if inside else settings


def by_bytes(name: Any) -> Any:
    """A file's name and digest; a name as it is if there is no such file."""
    path = Path(name).expanduser() if isinstance(name, str) else Path()
    return f"{path.name} {digest_of(path)[:16]}" if path.is_file() else name
