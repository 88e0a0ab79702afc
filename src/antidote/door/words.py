"""Python's values as Hydra's overrides have them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from antidote.core import BadInput, require
from antidote.engine.labels import flat
from antidote.sweeps.change import parsed
from hydra_plugins.antidote_plugins import at_home, quoted, readable

BARE = re.compile(r"[\w./-]+", re.ASCII)


def words(overrides: Sequence[str], settings: Mapping[str, Any]) -> list[str]:
    """What is said of one run: the overrides as given, then the settings, nested ones by path."""
    said = written(overrides, settings, value)
    several = [word for word in said if read(word).is_sweep_override()]
    require(
        not several,
        f"{' and '.join(several)}: several values are for antidote.sweep; a list that is one value "
        "is written as in discovery.ids=[3,17]",
    )
    return said


def axes(overrides: Sequence[str], settings: Mapping[str, Any]) -> list[str]:
    """The same of a sweep, in which a setting that is a list is an axis."""
    return written(overrides, settings, axis)


def written(
    overrides: Sequence[str], settings: Mapping[str, Any], write: Callable[[Any], str]
) -> list[str]:
    require(
        not isinstance(overrides, str),
        f'overrides are a list, as in ["dataset=digits", "seed=1"], and not {overrides!r}',
    )
    told = [f"{key}={write(value)}" for key, value in flat(settings).items()]
    said = [readable(quoted(at_home(str(word)))) for word in (*overrides, *told)]
    for word in said:
        read(word)
    return said


def read(word: str) -> Override:
    """An override as Hydra reads it."""
    try:
        return parsed(word)
    except HydraException:
        raise BadInput(f"{word} is no override; write key=value, as in seed=1") from None


def value(thing: Any) -> str:
    """One value: 0.3, null, xlf_ptn, 'a b', [3,17]."""
    if hasattr(thing, "item") and getattr(thing, "ndim", 0) == 0:  # a number of numpy or torch
        thing = thing.item()
    if thing is None or isinstance(thing, bool):
        return {None: "null", True: "true", False: "false"}[thing]
    if isinstance(thing, str | os.PathLike):
        return text(os.fspath(thing))
    if isinstance(thing, Mapping):
        return "{" + ",".join(f"{key}:{value(part)}" for key, part in thing.items()) + "}"
    if isinstance(thing, int | float):
        return repr(thing)
    require(
        isinstance(thing, Sequence | range),
        f"{thing!r} is no setting; settings are numbers, texts, truth values, None, and lists and "
        "dicts of those",
    )
    return "[" + ",".join(map(value, thing)) + "]"


def axis(thing: Any) -> str:
    """One value, or the values of an axis."""
    if not isinstance(thing, list | tuple | range):
        return value(thing)
    require(len(thing) > 0, "an axis of a sweep has no values; give a list of one or more")
    return ",".join(map(value, thing))


def text(said: str) -> str:
    """Quoted, unless Hydra reads the same without quotes, wherever it stands."""
    if BARE.fullmatch(said) and read(f"x={said}").value() == said:
        return said
    return QuotedString(said, Quote.single).with_quotes()
