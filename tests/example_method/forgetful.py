"""Forgets by drawing the last layer anew."""

from torch import nn

from antidote.core import Report, Split, Victim


class Forgetful:
    """`keep` is the share of the old weights that stays, in 0..1."""

    def __init__(self, keep: float) -> None:
        self.keep = keep

    def unlearn(self, victim: Victim, split: Split) -> Report:
        last = [module for module in victim.net.modules() if isinstance(module, nn.Linear)][-1]
        old = last.weight.detach().clone()
        last.reset_parameters()
        last.weight.data.lerp_(old, self.keep)
        return Report()
