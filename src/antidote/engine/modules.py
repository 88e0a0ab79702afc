"""Which modules there are, and which of them are read as source: antidote's and the user's own."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

OURS = __name__.partition(".")[0]
PYTHON = tuple({sysconfig.get_path(p) for p in ("stdlib", "platstdlib", "purelib", "platlib")})
# of another Python's or a user's, too
PACKAGES = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))


def installed(path: str) -> bool:
    """Whether a file or folder is of Python or of an installed package."""
    return path.startswith(PYTHON) or any(name in path for name in PACKAGES)


@functools.cache
def module_of(name: str) -> str | None:
    """The longest part of a dotted name that is a module; None if it starts with none."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top_of(top) is None:
        return None
    if source(top) is None and not namespace(top):
        return top  # installed, or compiled
    parts = name.split(".")
    longest = range(len(parts), 0, -1)
    return next((m for m in (".".join(parts[:n]) for n in longest) if source(m)), top)


@functools.cache
def top_of(top: str) -> Any:
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError):  # __main__ has none
        return None


def namespace(top: str) -> bool:
    """A package without __init__ that is not an installed one."""
    spec = top_of(top)
    places = [str(p) for p in (spec.submodule_search_locations or [])] if spec else []
    return bool(spec and spec.origin is None and not any(map(installed, places)))


@functools.cache
def source(module: str) -> Path | None:
    """The file of a module of antidote, or of the user's own: of none that is installed."""
    top, *rest = module.split(".")
    spec = top_of(top)
    if spec is None:
        return None
    if not rest:
        origin = spec.origin or ""
        own = origin.endswith(".py") and (top == OURS or not installed(origin))
        return Path(origin) if own else None
    for place in spec.submodule_search_locations or []:
        if installed(place) and top != OURS:
            continue
        path = Path(place, *rest)
        for file in (path / "__init__.py", path.with_suffix(".py")):
            if file.is_file():
                return file
    return None


@functools.cache
def version_of(top: str) -> str | None:
    """Name and version of the distribution that brings a package; None for a part of Python."""
    try:
        return f"{top} {importlib.metadata.version(top)}"
    except importlib.metadata.PackageNotFoundError:
        names = distributions().get(top, [])
        return " ".join(f"{n} {importlib.metadata.version(n)}" for n in sorted(set(names))) or None


@functools.cache
def distributions() -> Any:
    return importlib.metadata.packages_distributions()
