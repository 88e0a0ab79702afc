"""EU-k and CF-k: only the last k weight layers learn (arXiv 2402.14015; Goel et al., 2201.06640).

A net says in `stages()` which parts it has, input first, and how many weight layers each part
counts; a tail must end where a part begins.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from antidote.core import BadInput, Victim
from antidote.unlearning.finetune import Fraction


def cut(net: nn.Module, k: int) -> list[nn.Module]:
    """The parts of `net` that hold its last `k` weight layers; raises `BadInput` if none do."""
    stages = getattr(net, "stages", None)
    if stages is None:
        raise BadInput(f"{type(net).__name__} has no stages() to cut; use unlearning=finetune")
    tail: list[nn.Module] = []
    layers, allowed = 0, []
    for module, weights in reversed(stages()):
        tail.insert(0, module)
        layers += weights
        if layers == k:
            return tail
        allowed.append(str(layers))
    raise BadInput(
        f"unlearning.k={k} weight layers is not where {type(net).__name__} can be cut; "
        f"choose {', '.join(allowed)}"
    )


class FineTuneTail(Fraction):
    """CF-k: the last `k` weight layers go on training.

    All before them is in evaluation mode and without gradients: neither its weights nor its
    batch-norm statistics move.
    """

    def __init__(self, k: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.k = k

    def check(self, net: nn.Module) -> None:
        """Refuses a k that the net cannot be cut at, before any compute."""
        super().check(net)
        cut(net, self.k)

    def start(self, victim: Victim) -> nn.Module:
        net = victim.net
        learned = [w for w in net.parameters() if w.requires_grad]
        net.requires_grad_(False).eval()
        for part in cut(net, self.k):
            part.train()
            inside = {id(w) for w in part.parameters()}
            for w in learned:
                w.requires_grad_(w.requires_grad or id(w) in inside)
        return net


class RetrainTail(FineTuneTail):
    """EU-k: as CF-k, with the tail drawn anew by the net's factory."""

    def start(self, victim: Victim) -> nn.Module:
        net = super().start(victim)
        for part, fresh in zip(cut(net, self.k), cut(victim.fresh(), self.k), strict=True):
            part.load_state_dict(fresh.state_dict())
        return net
