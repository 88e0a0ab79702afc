"""Settings taken apart, by path, and what an override changes of them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType

Job = tuple[str, ...]
Path = tuple[str, ...]
GONE = object()


def plain(
    value: Job, job: Job, settings: dict[Path, Any], choices: dict[Path, Any]
) -> dict[Path, Any] | None:
    """{path: what it becomes} where a value only sets a setting that is there; else None.

    That needs no composing, and axes of many values, such as seeds, are mostly of this kind.
    """
    if len(value) != 1:
        return None
    override, *others = map(parsed, [*value, *(o for o in job if o not in value)])
    path, becomes = path_of(override), override.value()
    group = path in choices or override.package is not None
    if override.type != OverrideType.CHANGE or group or isinstance(becomes, dict | list):
        return None
    # an option of a group is chosen before any setting is set; a dict in its place is a setting
    later = [o for o in others if path_of(o) not in choices or isinstance(o.value(), dict)]
    near = any(path[: len(p)] == p or p[: len(path)] == path for p in map(path_of, later))
    return None if near or path not in settings else {path: becomes}


@functools.cache
def parsed(override: str) -> Override:
    return OverridesParser.create().parse_override(override)


def path_of(override: Override) -> Path:
    return tuple(override.key_or_group.split("."))


def joined(parts: Sequence[Job]) -> Job:
    return tuple(value for part in parts for value in part)


def leaves(tree: Any, at: Path = ()) -> dict[Path, Any]:
    """{("recipe", "epochs"): 4, ...}; lists and empty dicts are leaves."""
    if not isinstance(tree, dict) or not tree:
        return {at: tree}
    return {p: v for key, part in tree.items() for p, v in leaves(part, (*at, key)).items()}


def tree(leaves: dict[Path, Any]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for path, value in leaves.items():
        here = root
        for key in path[:-1]:
            here = here.setdefault(key, {})
        here[path[-1]] = value
    return root


def difference(a: dict[Path, Any], b: dict[Path, Any]) -> dict[Path, Any]:
    """What turns `a` into `b`."""
    changed = {p: v for p, v in b.items() if p not in a or a[p] != v}
    return changed | {p: GONE for p in a if p not in b}


def applied(base: dict[Path, Any], changes: list[dict[Path, Any]]) -> dict[Path, Any]:
    after = dict(base)
    for change in changes:
        after |= change
    return {p: v for p, v in after.items() if v is not GONE}


def clashing(changes: list[dict[Job, Any]]) -> tuple[int, int] | None:
    """Two parts that touch the same settings."""
    touched = [
        {(k, *p) for value in part.values() for k in (0, 1) for p in value[k]} for part in changes
    ]
    below = [{p[:n] for p in paths for n in range(1, len(p))} for paths in touched]
    for i, j in itertools.combinations(range(len(changes)), 2):
        if touched[i] & touched[j] or touched[i] & below[j] or below[i] & touched[j]:
            return i, j
    return None
