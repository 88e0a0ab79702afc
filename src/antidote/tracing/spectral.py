"""Spectral signatures (Tran et al. 2018, arXiv 1811.00636)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from antidote.core import Loader, Split, Traced, Tracer, Victim, finite, require
from antidote.core.hidden import features, head

MOST = 0.5  # of a label's rows: outliers are the fewer


class Spectral(Tracer):
    """Per label, the rows that stand out along the top singular vector of their features.

    Algorithm 1: from each label's rows, the 1.5 eps with the greatest squared projection go, where
    eps is an upper bound on the number of poisoned rows in the training set, here `share` of it.
    Its authors have to know that bound, and lose as many rows from labels without any poison. Never
    more than half of a label's rows: beyond that poison would be no outlier. No known sample is
    used. `layer`: whose input is looked at; None for the last linear one.
    """

    needs_known = False

    def __init__(self, share: float, layer: str | None) -> None:
        require(
            0 < share < 1,
            f"tracing.share={share} is not in (0, 1); 0.01 takes at most a hundredth for poisoned",
        )
        self.share, self.layer = share, layer

    def check(self, net: nn.Module) -> None:
        head(net, self.layer, "tracing.layer")

    def trace(self, victim: Victim, split: Split) -> Traced:
        h, y = seen(victim.net, split.retain, self.layer)
        scores, out = torch.full((len(y),), torch.nan, dtype=torch.float64), torch.zeros(len(y))
        eps = self.share * len(y)
        for label in y.unique():
            of = (y == label).nonzero().squeeze(1)
            scores[of] = projections(h[of].double())
            _, best = scores[of].topk(round(min(1.5 * eps, MOST * len(of))))
            top = of[best]
            out[top[scores[top] > 0]] = 1  # where all rows are alike none stands out
        rows = split.retain.rows[out.bool().to(split.retain.rows.device)]
        return Traced(rows, scores, {"eps": eps, "labels": float(len(y.unique()))})


def seen(net: nn.Module, loader: Loader, layer: str | None) -> tuple[Tensor, Tensor]:
    """(features (n, d), stored labels (n,)) of plain rows, on the CPU."""
    name, plain = head(net, layer, "tracing.layer"), loader.with_(augment=None)
    h = finite(features(net, plain, [name])[name], f"the input of the net's layer {name}")
    return h, plain.labels.cpu()


def projections(h: Tensor) -> Tensor:
    """((h - mean) . v)^2, v the top right singular vector of the centred rows."""
    centred = h - h.mean(0)
    # v is also the covariance's top eigenvector, and that has the size of a row only
    v = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -1]
    return (centred @ v) ** 2
