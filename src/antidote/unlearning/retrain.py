"""Retraining from scratch without the known poison (EU, exact unlearning of what is known)."""

from __future__ import annotations

from torch import nn

from antidote.core import Loader, Split, Victim
from antidote.unlearning.trained import Trained


class Retrain(Trained):
    """A fresh net, trained by the victim's recipe on all but the known poison.

    The undiscovered rest is still there.
    """

    def start(self, victim: Victim) -> nn.Module:
        victim.net.load_state_dict(victim.fresh().state_dict())
        return victim.net.train()

    def batches(self, split: Split) -> Loader:
        return split.retain

    def title(self) -> str:
        return "retrainings"
