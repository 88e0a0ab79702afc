"""Ways to walk through numbered tries, and what is known of them from earlier walks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial

from antidote.core import Tries
from antidote.progress import Work, titled

# yields the try to look at, is sent whether it is good, returns the first good one
Walk = Generator[int, bool, int | None]


def scan(tries: int) -> Walk:
    """One after the other (the reference's way)."""
    for t in range(tries):
        if (yield t):
            return t
    return None


def bisect(tries: int) -> Walk:
    """Gallop 0, 1, 3, 7, ..., then halve.

    What it ends at is the first good try if every try after a good one is good too.
    """
    bad, t = -1, 0
    while not (yield t):
        if t == tries - 1:
            return None
        bad, t = t, min(2 * t + 1, tries - 1)
    while t - bad > 1:
        middle = (bad + t) // 2
        bad, t = (bad, middle) if (yield middle) else (middle, t)
    return t


STRATEGIES: dict[str, Callable[[int], Walk]] = {"scan": scan, "bisect": bisect}


class Path:
    """What each try gives: worked out now, or known from an earlier search.

    `first`: the first good try once `walk` has come to its end, None where none is good.
    """

    first: int | None = None

    def __init__(self, known: Tries) -> None:
        self.known = known
        self.asked: Tries = {}
        self.fresh: Tries = {}
        self.saved = 0.0

    def knows(self, t: int) -> bool:
        """Whether an earlier search did it; then it is taken over, and its time was saved."""
        if t in self.known:
            self.asked[t] = dict(self.known[t])
            self.saved += self.asked[t].pop("seconds")
        return t in self.known

    def add(self, t: int, row: dict[str, float], seconds: float) -> None:
        self.asked[t] = row
        self.fresh[t] = row | {"seconds": seconds}

    def walk(self, walk: Walk, good: Callable[[Mapping[str, float]], bool]) -> Iterator[int]:
        """The tries on the way that nobody has made yet; each is added before the next is asked."""
        work, found = Work(f"{titled.get()}, search", None, "tries"), None
        try:
            while True:
                t = next(walk) if found is None else walk.send(found)
                if not self.knows(t):
                    yield t
                found = good(self.asked[t])
                left = self.asked[t]["known_poison_accuracy"]
                work.step(partial("{:.0%} of the known poison believed".format, left))
        except StopIteration as end:
            self.first = end.value
        finally:
            work.close()
