"""The poison's direction taken out of the last layer: an edit of rank one, no training."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from antidote.core import History, Method, Split, Victim
from antidote.core.hidden import features, linear_head


class Project(Method):
    """u = unit vector of (mean feature of the known poison - m), m the mean of the retained rows.

    Features are the inputs of the last layer. W <- W (I - u u'), b <- b + W u (u . m), so that what
    the net says of m stays. Without a bias: W <- W (I - u v'), with e = m / |m| and
    v = (u - (u . e) e) / (1 - (u . e)^2), for which v . m = 0 and v . u = 1. `layer`: the last
    one, by name; None for the last linear one.
    """

    def __init__(self, layer: str | None) -> None:
        self.layer = layer

    def check(self, net: nn.Module) -> None:
        linear_head(net, self.layer, "unlearning.layer")

    def unlearn(self, victim: Victim, split: Split) -> History:
        name, last = linear_head(victim.net, self.layer, "unlearning.layer")
        poison, m = (
            features(victim.net, part.with_(augment=None), [name])[name].double().mean(0)
            for part in (split.forget, split.retain)
        )
        with torch.no_grad():
            moved = project(last, F.normalize(poison - m, dim=0), m)
        return History([{"moved": moved}])


def project(last: nn.Linear, u: Tensor, m: Tensor) -> float:
    """Edits the layer; returns the share of W (in Frobenius norm) that has gone."""
    W = last.weight.double()
    u, m = u.to(W), m.to(W)
    v = u
    if last.bias is not None:
        last.bias.add_((W @ u * (u @ m)).to(last.bias))
    elif m.norm() > 0:
        e = m / m.norm()
        rest = u - (u @ e) * e
        v = rest / (1 - (u @ e) ** 2).clamp(min=1e-12)
    gone = torch.outer(W @ u, v)
    share = (gone.norm() / W.norm()).item()
    last.weight.sub_(gone.to(last.weight))
    return share
