"""Forgets by drawing the last layer anew."""

from torch import nn

from antidote.core import History, Method, Split, Victim


class Forgetful(Method):
    """`keep` is the share of the old weights that stays, in 0..1."""

    def __init__(self, keep: float) -> None:
        self.keep = keep

    def unlearn(self, victim: Victim, split: Split) -> History:
        last = [module for module in victim.net.modules() if isinstance(module, nn.Linear)][-1]
        old = last.weight.detach().clone()
        last.reset_parameters()
        last.weight.data.lerp_(old, self.keep)
        return History()
