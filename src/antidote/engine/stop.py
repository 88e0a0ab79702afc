"""How work is stopped, and what is said of what stopped it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from antidote.engine.cell import bad_input


class Terminated(BaseException):
    """SIGTERM: ends a run or a sweep as Ctrl-C does, with status 143."""


STOPPED = {KeyboardInterrupt: 130, Terminated: 143}  # exit status, as shells have it


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM raises `Terminated` in this block, in a main thread; Python allows no other."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise Terminated("ended by SIGTERM")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def sentence_of(error: BaseException) -> str:
    """What happened, for people."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, Terminated):
        return str(error)
    return str(bad_input(error) or f"{type(error).__name__}: {error}").strip()
