"""The table of a plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table

from antidote.progress import span
from antidote.report.terminal import tell


@dataclass
class Row:
    """One kind of work; times and sizes are of what is left to do."""

    name: str
    all: int = 0
    left: int = 0
    seconds: float = 0.0
    bytes: float = 0.0
    guessed: bool = False
    untimed: int = 0
    unweighed: int = 0

    def add(
        self, todo: bool, seconds: float | None, size: float | None, guess: float | None = None
    ) -> None:
        """One piece of work; `guess` stands in for seconds that no past run tells."""
        self.all += 1
        if todo:
            self.left += 1
            self.seconds += seconds or guess or 0.0
            self.bytes += size or 0.0
            self.guessed |= seconds is None and guess is not None
            self.untimed += seconds is None and guess is None
            self.unweighed += size is None


def weight(size: float) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if size > unit:
            return f"{size / unit:.1f} {name}"
    return f"{size / 1e3:.0f} kB"


def known(total: float, say: Callable[[float], str], unknown: int) -> str:
    """A sum, with the number of its terms that nothing is known of."""
    if not total:
        return "?" if unknown else "-"
    return say(total) + (f" + {unknown} ?" if unknown else "")


def about(guessed: bool, time: str) -> str:
    return f"~ {time}" if guessed else time


def show_plan(jobs: int, states: Sequence[str], rows: Sequence[Row], read_off: int) -> None:
    """One line per kind of work, then the cells."""
    table = Table(
        title="Work of the sweep", title_justify="left", box=SIMPLE_HEAD, padding=(0, 2, 0, 0)
    )
    for column in ("", "all", "left", "time", "disk"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for row in rows:
        time = about(row.guessed, known(row.seconds, span, row.untimed))
        disk = known(row.bytes, weight, row.unweighed)
        table.add_row(row.name, str(row.all), str(row.left), time, disk)
    table.add_section()
    left, untimed, unweighed = (
        sum(getattr(row, name) for row in rows) for name in ("left", "untimed", "unweighed")
    )
    guessed = any(row.guessed for row in rows)
    time = about(guessed, known(sum(row.seconds for row in rows), span, untimed))
    disk = known(sum(row.bytes for row in rows), weight, unweighed)
    table.add_row("all of that", "", str(left), time, disk)
    count = Counter(states)
    lines = [
        f"{jobs} jobs are {len(states)} different cells: {count['done']} done, "
        f"{count['failed']} failed, {count['missing']} missing",
        f"{read_off} cells are read off the search path of another, as far as it went",
        "time and disk: as past runs with the same data, net, recipe and threads needed (?: none "
        "yet), one after the other, without the start of each job",
        *["~: guessed from a few seconds of training on this machine, as roughly"] * guessed,
    ]
    tell(table, *lines)
