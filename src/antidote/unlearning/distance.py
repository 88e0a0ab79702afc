"""Divergences between what two nets answer."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def kl(teacher: Tensor, student: Tensor, T: float) -> Tensor:
    """T^2 mean_i KL(softmax(t_i / T) || softmax(s_i / T)) of logits (n, K): Hinton et al. 2015."""
    s, t = F.log_softmax(student / T, 1), F.log_softmax(teacher / T, 1)
    return T**2 * F.kl_div(s, t, reduction="batchmean", log_target=True)
