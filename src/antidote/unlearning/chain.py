"""One method, then another."""

from __future__ import annotations

from antidote.core import Report, Split, Unlearner, Victim


class Chain:
    """`then` goes on with the net that `first` leaves."""

    def __init__(self, first: Unlearner, then: Unlearner) -> None:
        self.first, self.then = first, then

    def unlearn(self, victim: Victim, split: Split) -> Report:
        a, b = self.first.unlearn(victim, split), self.then.unlearn(victim, split)
        return Report(
            steps=a.steps + b.steps,
            sample_gradients=a.sample_gradients + b.sample_gradients,
            saved=a.saved + b.saved,
            search=b.search or a.search,
        )
