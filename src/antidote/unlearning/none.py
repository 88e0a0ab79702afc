"""Doing nothing, the row that every table needs."""

from __future__ import annotations

from antidote.core import History, Method, Split, Victim


class Nothing(Method):
    """Leaves the victim bit by bit as it is. (The reference's "no unlearning" fine-tunes.)"""

    needs_known = False

    def unlearn(self, victim: Victim, split: Split) -> History:
        return History()
