"""No tracing: the papers' own setting."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from antidote.core import Split, Traced, Tracer, Victim, Work


class NoTracing(Tracer):
    """Finds nothing, and looks at nothing."""

    def work(self) -> Iterable[Work]:
        return ()

    def trace(self, victim: Victim, split: Split) -> Traced:
        nothing = torch.empty(0, dtype=torch.int64)
        return Traced(nothing, torch.full((split.retain.count,), torch.nan))
