"""Membership inference by a threshold on the loss (Yeom et al. 2018, arXiv 1709.01604)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from antidote.core import Loader, logits
from antidote.metrics.gus import FPR, auroc


def losses(net: nn.Module, loader: Loader) -> Tensor:
    """log(e^CE - 1) of every row (n,), as stored and viewed; evaluation mode and float32.

    It orders rows as CE does, but where CE of a sure answer rounds to 0, and rows tie, it does not:
    it is log sum_k e^f_k over the other classes, less the label's logit.
    """
    f, y = logits(net, loader).double(), loader.labels
    label = F.one_hot(y, f.shape[1]).bool()
    return f.masked_fill(label, -torch.inf).logsumexp(1) - f[label]


class Membership:
    """Can a small loss tell the loader's rows from `others`, which were never trained on?

    `tpr`: share of the rows told at a threshold that 1 % of the others pass; 0.01 by chance.
    `auroc`: 0.5 by chance.
    """

    def __init__(self, others: Loader) -> None:
        self.others = others

    def __call__(self, net: nn.Module, loader: Loader) -> dict[str, float]:
        members, others = losses(net, loader), losses(net, self.others)
        below = members < others.quantile(FPR)
        return {"tpr": below.double().mean().item(), "auroc": auroc(-members, -others)}
