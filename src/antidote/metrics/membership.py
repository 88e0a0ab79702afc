"""Membership inference by a threshold on the loss (Yeom et al. 2018, arXiv 1709.01604)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from antidote.core import Loader, logits
from antidote.metrics.gus import FPR, auroc


def losses(net: nn.Module, loader: Loader) -> Tensor:
    """CE of every row (n,), as stored and viewed; evaluation mode and float32."""
    return F.cross_entropy(logits(net, loader), loader.labels, reduction="none")


class Membership:
    """Can a small loss tell the loader's rows from `others`, which were never trained on?

    `tpr`: share of the rows told at a threshold that 1 % of the others pass; 0.01 by chance.
    `auroc`: 0.5 by chance.
    """

    def __init__(self, others: Loader) -> None:
        self.others = others

    def __call__(self, net: nn.Module, loader: Loader) -> dict[str, float]:
        members, others = losses(net, loader), losses(net, self.others)
        below = members < others.double().quantile(FPR)
        return {"tpr": below.double().mean().item(), "auroc": auroc(-members, -others)}
