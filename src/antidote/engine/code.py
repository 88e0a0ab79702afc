"""Which code something runs: a module, and all that it imports, read from the source.

Nothing is imported for it. Installed packages count by name and version, but antidote by its source
wherever it lies; comments, docstrings and layout do not count. `if TYPE_CHECKING:` is skipped,
imports inside functions are followed.
"""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import importlib.util
import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from antidote.core.data import fingerprint

DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
OURS = __name__.partition(".")[0]
PYTHON = tuple({sysconfig.get_path(p) for p in ("stdlib", "platstdlib", "purelib", "platlib")})
# of another Python's or a user's, too
PACKAGES = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))


def installed(path: str) -> bool:
    """Whether a file or folder is of Python or of an installed package."""
    return path.startswith(PYTHON) or any(name in path for name in PACKAGES)


def code(names: Iterable[str]) -> str:
    """Of modules, classes and functions by their dotted paths."""
    return code_of(frozenset(filter(None, map(module_of, names))))


@functools.cache
def code_of(modules: frozenset[str]) -> str:
    found: dict[str, str] = {}
    for module in modules:
        follow(module, found)
    return fingerprint(found)


def targets(settings: Any) -> Iterator[str]:
    """All dotted paths in settings: what `_target_` names, and what get_method is to fetch."""
    if isinstance(settings, str):
        if DOTTED.fullmatch(settings):
            yield settings
    elif isinstance(settings, dict):
        for value in settings.values():
            yield from targets(value)
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from targets(value)


def paths_of(things: Iterable[Any]) -> Iterator[str]:
    """The dotted paths of classes, functions and instances, and of what they hold."""
    for thing in things:
        if isinstance(thing, dict | list | tuple):
            yield from paths_of(thing.values() if isinstance(thing, dict) else thing)
        elif isinstance(thing, functools.partial):
            yield from paths_of([thing.func, thing.args, thing.keywords])
        elif hasattr(thing, "__qualname__"):
            yield f"{thing.__module__}.{thing.__qualname__}"
        elif hasattr(thing, "__dict__"):
            yield from paths_of([type(thing), vars(thing)])


def follow(module: str, into: dict[str, str]) -> None:
    """Adds {name: version or hash} of `module` and of everything it imports."""
    if module in into:
        return
    path = source(module)
    if path is None:
        version = version_of(module.partition(".")[0])
        if version:
            into[module.partition(".")[0]] = version
        return
    into[module], imports = parsed(path, module)
    for name in imports:
        found = module_of(name)
        if found:
            follow(found, into)


@functools.cache
def parsed(path: Path, module: str) -> tuple[str, tuple[str, ...]]:
    """(hash of the code without docstrings, names it imports)"""
    tree = ast.parse(path.read_bytes())
    imports = tuple(sorted(imported(tree, module, path.name == "__init__.py")))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and is_docstring(body[0]):
            del body[0]
    return fingerprint(ast.dump(tree)), imports


def is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def imported(tree: ast.Module, module: str, package: bool) -> Iterator[str]:
    """Dotted names of everything imported, parents of the module itself included."""
    parents = module.split(".")[:-1]
    yield from (".".join(parents[: i + 1]) for i in range(len(parents)))
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += node.orelse
            continue
        todo += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = module.split(".")[: len(module.split(".")) - node.level + package]
            base = ".".join([*(up if node.level else []), *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


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
