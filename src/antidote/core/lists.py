"""Lists of names in text files: one a line, or a column of a table."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from antidote.core.checks import BadInput, require

# columns that name samples; of several that are there the first
COLUMNS = ("path", "file", "filename", "file_name", "name", "image", "id", "row", "index")
TABLES = (".csv", ".tsv")
BROAD = (b"\xff\xfe", b"\xfe\xff")  # how UTF-16 begins, in which Windows' shells write


def entries(path: Path, column: str | None, setting: str) -> list[str]:
    """What a file lists; blank lines, and those that begin with #, list nothing.

    A table has a header: it is called .csv or .tsv, or its first line holds one of `COLUMNS`.
    `column` is the one that is read; None: the first of those. Raises `BadInput` where there is
    none, and for what is no text.
    """
    lines = [line.strip() for line in re.split("\r\n|\r|\n", text_of(path, setting))]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        return []
    mark = max(",;\t", key=lines[0].count)
    header, *rows = csv.reader(lines, delimiter=mark)
    columns = [name.strip().lower() for name in header]
    known = [name for name in COLUMNS if name in columns]
    if column is None and not known and path.suffix.lower() not in TABLES:
        return lines
    wanted = known[:1] if column is None else [column.strip().lower()]
    require(
        bool(wanted) and wanted[0] in columns,
        f"{setting}={path} has no column {column or 'that names samples'}, only "
        f"{', '.join(header)}; discovery.column says which one does",
    )
    return cells(rows, columns.index(wanted[0]), f"{setting}={path}")


def cells(rows: Sequence[Sequence[str]], place: int, where: str) -> list[str]:
    short = [row for row in rows if len(row) <= place or not row[place].strip()]
    require(
        not short,
        f"{where} names no sample in {len(short)} of its {len(rows)} rows; the first is "
        f"{short[0] if short else ''}",
    )
    return [row[place].strip() for row in rows]


def text_of(path: Path, setting: str) -> str:
    """A name of a file may be any bytes, so what is no UTF-8 is kept as it is."""
    require(path.is_file(), f"{setting}={path} is not a file; give one that lists samples")
    try:
        raw = path.read_bytes()
        if raw.startswith(BROAD):
            return raw.decode("utf-16")
    except (OSError, UnicodeError) as error:
        raise BadInput(f"{setting}={path} cannot be read as text ({error})") from error
    return raw.decode("utf-8-sig", "surrogateescape")
