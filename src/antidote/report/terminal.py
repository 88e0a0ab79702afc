"""Printing for people, which decides nothing: no trouble with standard output reaches a run."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from antidote.progress import past_bars
from antidote.report.words import missing, printable

UNFOLDED = 10_000  # letters, more than any line has


def plain(value: object) -> Text:
    """A value as it is: [bold] in it is no markup, :x: no picture."""
    return Text(printable(value))


def percent(value: float | None) -> str:
    return "-" if value is None or missing(value) else f"{100 * value:.2f} %"


def tell(*things: RenderableType) -> None:
    """Prints tables, and lines (str), which are never folded."""
    text = rendered(things)  # an error in here is ours, and is raised
    with quietly(), past_bars():
        if sys.stdout is not None:
            sys.stdout.write(text)


def rendered(things: Iterable[RenderableType], file: bool = False) -> str:
    """As rich would print it to standard output, in letters that its encoding has; or to a file."""
    encoding = "utf-8" if file else getattr(sys.stdout, "encoding", None) or "utf-8"
    draft = Draft(encoding)
    out = Console(file=draft) if file else Console()
    how = {"width": out.width, "force_terminal": out.is_terminal, "color_system": out.color_system}
    console = Console(file=draft, markup=False, emoji=False, highlight=False, **how)  # type: ignore
    for thing in things:
        if isinstance(thing, str):
            console.print(plain(thing), soft_wrap=True)
        else:
            console.print(thing, crop=False)
    return draft.getvalue().encode(encoding, "replace").decode(encoding)


class Widest:
    """Of tables, the widest first, the one that needs no folding; in a file the first of all."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self.tables = tables

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for table in self.tables:
            whole = Measurement.get(console, options.update(width=UNFOLDED), table).maximum
            if whole <= options.max_width or not console.is_terminal:
                yield from console.render(table, options.update(width=whole))
                return
        yield self.tables[-1]


class Draft(io.StringIO):
    """Rich draws tables by what a file can encode."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self.asked = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.asked


@contextmanager
def quietly() -> Iterator[None]:
    """Whatever is printed here may fail, as in `| head -1`; from then on nothing is printed."""
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):  # a broken pipe, a full disk; a closed stream
        hush()


def hush() -> None:
    """Standard output leads nowhere, also for what the interpreter still flushes at its end."""
    nowhere = open(os.devnull, "w")  # noqa: PTH123, SIM115
    try:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    except (OSError, ValueError):  # no file behind it, or closed
        sys.stdout = nowhere
