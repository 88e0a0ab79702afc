"""Weight editors whose lambda goes with the cutoff, as in the papers' grids of SSD."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from antidote.core import Split
from antidote.unlearning.evidence import Evidence
from antidote.unlearning.weight_editor import WeightEditor


class RelativeEditor(WeightEditor):
    """`strength` counts in cutoffs: lambda = strength * alpha, alpha at the natural pressure.

    A weight just above the cutoff shrinks to that share of itself, whatever alpha is.
    """

    def measure(self, net: nn.Module, split: Split) -> Evidence:
        evidence = super().measure(net, split)
        alpha, _ = self.cutoff.alpha(evidence, self.natural(evidence))
        return replace(evidence, strength=self.strength * alpha)
