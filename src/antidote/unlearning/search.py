"""Ways to walk through numbered tries, and what is known of them from earlier walks."""

from __future__ import annotations

import time
from collections.abc import Callable

from tqdm import tqdm

from antidote.core import Tries

Good = Callable[[int], bool]


def scan(good: Good, tries: int) -> int | None:
    """The first try that is good, asked one after the other (the reference's way)."""
    return next(
        (t for t in tqdm(range(tries), desc="PTN tries", disable=None, leave=False) if good(t)),
        None,
    )


def bisect(good: Good, tries: int) -> int | None:
    """The first good try: gallop 0, 1, 3, 7, ..., then halve.

    It is the first if every try after a good one is good too.
    """
    bad, t = -1, 0
    while not good(t):
        if t == tries - 1:
            return None
        bad, t = t, min(2 * t + 1, tries - 1)
    while t - bad > 1:
        middle = (bad + t) // 2
        bad, t = (bad, middle) if good(middle) else (middle, t)
    return t


STRATEGIES = {"scan": scan, "bisect": bisect}


class Path:
    """What each try gives: worked out by `attempt(t)`, or looked up if an earlier search did."""

    def __init__(self, attempt: Callable[[int], dict[str, float]], known: Tries) -> None:
        self.attempt, self.known = attempt, known
        self.asked: Tries = {}
        self.fresh: Tries = {}
        self.saved = 0.0

    def __call__(self, t: int) -> dict[str, float]:
        if t in self.known:
            self.asked[t] = dict(self.known[t])
            self.saved += self.asked[t].pop("seconds")
        else:
            began = time.perf_counter()
            self.asked[t] = self.attempt(t)
            self.fresh[t] = self.asked[t] | {"seconds": time.perf_counter() - began}
        return self.asked[t]
