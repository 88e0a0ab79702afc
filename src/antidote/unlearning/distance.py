"""Divergences between what two nets answer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def wide(logits: Tensor) -> Tensor:
    """In float32 at least: a softmax of bf16 logits puts the gradient off by 2 %.

    Autocast sees to it by itself on a GPU, and for cross-entropy everywhere.
    """
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def kl(teacher: Tensor, student: Tensor, T: float) -> Tensor:
    """T^2 mean_i KL(softmax(t_i / T) || softmax(s_i / T)) of logits (n, K): Hinton et al. 2015."""
    s, t = F.log_softmax(wide(student) / T, 1), F.log_softmax(wide(teacher) / T, 1)
    return T**2 * F.kl_div(s, t, reduction="batchmean", log_target=True)
