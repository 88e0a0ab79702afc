"""Which code something runs: a module, and all that it imports, read from the source.

Nothing is imported for it. Installed packages count by name and version, but antidote by its source
wherever it lies; comments, docstrings and layout do not count. `if TYPE_CHECKING:` is skipped,
imports inside functions are followed.
"""

from __future__ import annotations

import ast
import functools
import importlib
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from antidote.core.checks import require
from antidote.core.data import fingerprint
from antidote.engine.modules import distributions, module_of, source, top_of, version_of

Stamp = tuple[int, int]
DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
# what was read of each module: its file, and what was imported under its name at that time
_read: dict[str, tuple[Path, Stamp, Any]] = {}


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
    into[module], imports = parsed(path, module, stamp(path))
    _read[module] = path, stamp(path), spec(module)
    for name in imports:
        found = module_of(name)
        if found:
            follow(found, into)


@contextmanager
def anew() -> Iterator[None]:
    """For a process that goes on while files change: what is new or was changed is read anew.

    Raises `BadInput` for a module that was not imported anew: what runs is not what would be read.
    """
    changed = {m for m, (path, before, _) in _read.items() if stamp(path) != before}
    stale = {m for m in changed if spec(m) is not None and spec(m) is _read[m][2]}
    require(
        not stale,
        f"the file of {', '.join(sorted(stale))} changed after it was imported; start Python anew, "
        "or importlib.reload what changed",
    )
    importlib.invalidate_caches()
    for cached in (code_of, module_of, top_of, source, version_of, distributions):
        cached.cache_clear()
    try:
        yield
    finally:  # much of it was imported after it was read
        same = [(m, p, before) for m, (p, before, _) in _read.items() if stamp(p) == before]
        _read.update({m: (path, before, spec(m)) for m, path, before in same})


def stamp(path: Path) -> Stamp:
    """Of a file's content, as far as can be told without reading it; (0, 0) if there is none."""
    try:
        about = path.stat()
    except OSError:
        return 0, 0
    return about.st_mtime_ns, about.st_size


def spec(module: str) -> Any:
    """Another object after each import; None for what is not imported."""
    return getattr(sys.modules.get(module), "__spec__", None)


@functools.cache
def parsed(path: Path, module: str, stamp: Stamp) -> tuple[str, tuple[str, ...]]:
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
