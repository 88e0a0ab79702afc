"""Samples that somebody names: by their files' names, or by their rows."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from antidote.core.checks import require
from antidote.core.data import Data

Parts = tuple[str, ...]
ROW = re.compile("0|[1-9][0-9]*")
REMARK = re.compile(r"\s+#")


def rows_of(data: Data, given: Iterable[str], setting: str) -> tuple[list[int], list[str]]:
    """(training rows that are named, names of what is there but is no training row).

    A whole number is a row, counted from 0. Anything else is a file's name, or as much of the end
    of its path as is needed; a path may begin with folders that are not the data's. What follows
    " #" is a remark, unless it is part of a name. Raises `BadInput` for names that are none of the
    data's, or of more than one sample.
    """
    named, found = Named(data), []
    unknown: list[str] = []
    for text in given:
        one = named(text, setting) or named(REMARK.split(text)[0], setting)
        found += [one] if one else []
        unknown += [] if one else [text]
    first = data.names[0] if data.names else ""
    way = f"they are called as {first}" if first else "these have no names, but rows, from 0 on"
    more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
    require(not unknown, f"{setting} names {unknown[:1]}{more}, which is no training sample; {way}")
    return [row for _, row in found if row is not None], [n for n, row in found if row is None]


class Named:
    """The samples of a data set by name."""

    def __init__(self, data: Data) -> None:
        self.by_end: dict[str, list[tuple[Parts, str, int | None]]] = defaultdict(list)
        every = [*enumerate(data.names), *((None, name) for name in data.left_out)]
        for row, name in every:
            parts = parted(name)
            self.by_end[parts[-1]].append((parts, name, row))

    def __call__(self, text: str, setting: str) -> tuple[str, int | None] | None:
        """(name, its row, or None of what is no training row), or nothing."""
        parts = parted(text)
        if not parts:
            return None
        alike = [(own, n, r) for own, n, r in self.by_end.get(parts[-1], []) if ends(own, parts)]
        same = [found for found in alike if found[0] == parts]
        longer = [found for found in alike if len(found[0]) > len(parts)]
        # of names that the text ends with, the longest
        found = same or longer or sorted(alike, key=lambda found: len(found[0]))[-1:]
        require(
            len(found) < 2,
            f"{setting} names {text}, which could be {' or '.join(n for _, n, _ in found[:3])}"
            f"{' or another' if len(found) > 3 else ''}; write more of the path",
        )
        if found:
            return found[0][1:]
        return (text, int(text)) if ROW.fullmatch(text) else None


def parted(path: str) -> Parts:
    """Parts of a path, whichever way its slashes lean and its accents are written."""
    text = unicodedata.normalize("NFC", path).replace("\\", "/")
    return tuple(p for p in posixpath.normpath(text).split("/") if p not in ("", "."))


def ends(one: Parts, other: Parts) -> bool:
    """Whether one of the two is the end of the other."""
    n = min(len(one), len(other))
    return one[-n:] == other[-n:]
