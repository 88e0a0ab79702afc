"""What is being worked at, for whoever watches: a bar in a terminal, now and then a line in a log.

Nothing of it reaches a result.
"""

from __future__ import annotations

import logging
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar

from tqdm import tqdm

log = logging.getLogger(__name__)
T_co = TypeVar("T_co", covariant=True)
BAR = 0.5  # seconds between two looks at a bar
LINE = 60.0  # seconds between two lines of a log
OF = "{desc}: {bar} {n_fmt} of {total_fmt} {unit}, {remaining} left{postfix}"
SO_FAR = "{desc}: {n_fmt} {unit}, {elapsed}{postfix}"
SHORT = 10.0  # at an epoch's end a line may come as soon
titled: ContextVar[str] = ContextVar("titled", default="training")
watched: ContextVar[bool] = ContextVar("watched", default=True)
Figures = Callable[[], str]


class Console(logging.StreamHandler):
    """Past any bar of tqdm's, which is drawn anew below the line."""

    def emit(self, record: logging.LogRecord) -> None:
        with tqdm.external_write_mode():
            super().emit(record)


class Countable(Protocol[T_co]):
    def __iter__(self) -> Iterator[T_co]: ...
    def __len__(self) -> int: ...


def nothing() -> str:
    return ""


@contextmanager
def at(title: str) -> Iterator[None]:
    """What is done in this block is told as `title`."""
    token = titled.set(title)
    try:
        yield
    finally:
        titled.reset(token)


@contextmanager
def told(watch: bool) -> Iterator[None]:
    """Whether anything is told in this block."""
    token = watched.set(watch)
    try:
        yield
    finally:
        watched.reset(token)


def in_terminal() -> bool:
    """Whether bars can be drawn: workers that share a terminal would draw over one another."""
    main = multiprocessing.current_process().name == "MainProcess"
    return main and sys.stderr is not None and sys.stderr.isatty()


def span(seconds: float) -> str:
    """The largest unit that leaves a number above 1.5."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds > 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


class Work:
    """One piece of work of `total` steps: `step()` after each, `close()` at the end.

    `figures()` gives words for what has come of it so far; it is called only where they are shown.
    `unit`: what is counted, for a log. Without `total` no time left is told.
    """

    def __init__(self, what: str, total: int | None, unit: str) -> None:
        self.what, self.total, self.unit, self.done = what, total, unit, 0
        self.began = self.looked = self.said = time.monotonic()
        drawn = watched.get() and in_terminal()
        how = {"total": total, "desc": what, "unit": unit, "leave": False, "dynamic_ncols": True}
        self.bar = tqdm(bar_format=OF if total else SO_FAR, **how) if drawn else None

    def step(self, figures: Figures = nothing, n: int = 1) -> None:
        self.done += n
        now = time.monotonic()
        if self.bar is not None:
            if now - self.looked > BAR:
                self.looked = now
                self.bar.set_postfix_str(figures(), refresh=False)
            self.bar.update(n)
        elif now - self.said > LINE:
            self.line(figures)

    def refresh(self) -> None:
        """Time goes on, though no step was made."""
        if self.bar is not None:
            self.bar.refresh()

    def pause(self, figures: Figures) -> None:
        """A good moment for a line, as the end of an epoch."""
        if self.bar is None and time.monotonic() - self.said > SHORT:
            self.line(figures)

    def line(self, figures: Figures) -> None:
        self.said = time.monotonic()
        if not watched.get():
            return
        of = "" if self.total is None else f" of {self.total}"
        words = [
            f"{self.what}: {self.done}{of} {self.unit}",
            *filter(None, [figures(), self.left()]),
        ]
        log.info(", ".join(words))

    def left(self) -> str:
        if not self.total or not self.done:
            return ""
        took = time.monotonic() - self.began
        return f"about {span(took / self.done * (self.total - self.done))} left"

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


@contextmanager
def past_bars() -> Iterator[None]:
    """What is printed in this block stands above any bar."""
    with tqdm.external_write_mode():
        yield


def through(things: Countable[T_co], what: str, unit: str) -> Iterator[T_co]:
    """All of `things`, one after the other, told as steps of `what` within what is being done."""
    work = Work(f"{titled.get()}, {what}", len(things), unit)
    try:
        for thing in things:
            yield thing
            work.step()
    finally:
        work.close()
