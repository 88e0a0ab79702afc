"""Methods that kill their own process, as the out-of-memory killer would."""

import os
import signal
from pathlib import Path

from antidote.core import History, Method


class Killer(Method):
    """Where the seed is `victim`: in `unlearn` the first `times` times; a file counts them."""

    needs_known = False

    def __init__(self, seed: int, victim: int, times: int, deaths: str) -> None:
        self.deadly = seed == victim
        self.times, self.deaths = times, Path(deaths)

    def unlearn(self, victim, split):
        before = self.deaths.read_text() if self.deaths.exists() else ""
        if self.deadly and len(before) < self.times:
            self.deaths.write_text(f"{before}x")
            os.kill(os.getpid(), signal.SIGKILL)
        return History()
