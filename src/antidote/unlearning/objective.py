"""Scalars ell(logits (n, K), labels (n,)) of a batch; the gradient says how much a weight matters.

Label-free ones ignore the labels: LFSSD and ALFSSD use the squared norm (Selective Synaptic
Dampening's label-free variant), XLF the norm itself (Potion, arXiv 2406.09173), which an outlying
sample cannot dominate.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """mean_i CE(f(x_i), y_i), with the labels as stored, so poisoned ones for known poison."""
    return F.cross_entropy(logits, y)


def squared_norm(logits: Tensor, y: Tensor) -> Tensor:
    """mean_i ||f(x_i)||_2^2"""
    return logits.square().sum(1).mean()


def norm(logits: Tensor, y: Tensor) -> Tensor:
    """mean_i ||f(x_i)||_2"""
    return torch.linalg.vector_norm(logits, dim=1).mean()
