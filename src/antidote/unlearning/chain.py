"""One method, then another."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from antidote.core import History, Method, Split, Victim, Work


class Chain(Method):
    """`then` goes on with the net that `first` leaves."""

    def __init__(self, first: Method, then: Method) -> None:
        self.first, self.then = first, then
        self.needs_known = first.needs_known or then.needs_known
        self.assumes_wrong_labels = first.assumes_wrong_labels or then.assumes_wrong_labels

    def check(self, net: nn.Module) -> None:
        self.first.check(net)
        self.then.check(net)

    def afford(self, split: Split) -> None:
        self.first.afford(split)
        self.then.afford(split)

    def work(self) -> Iterable[Work]:
        yield from self.first.work()
        yield from self.then.work()

    def unlearn(self, victim: Victim, split: Split) -> History:
        done = self.first.unlearn(victim, split)
        return done + self.then.unlearn(victim, split)
