"""BadT, the bad teacher (Chundawat et al. 2023, arXiv 2205.08096)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from antidote.core import Loader, Split, Victim
from antidote.unlearning.distance import wide
from antidote.unlearning.finetune import Fraction


def target(good: Tensor, bad: Tensor, known: Tensor) -> Tensor:
    """Shares (n, K): the bad teacher's where `known` (n,) is 1, the good one's where it is 0."""
    good, bad = wide(good), wide(bad)
    known = known.to(good.dtype).unsqueeze(1)
    return known * bad.softmax(1) + (1 - known) * good.softmax(1)


class BadTeacher(Fraction):
    """The student learns what two teachers answer: the victim, and on known poison a fresh net.

    loss = mean_i KL(target_i || student_i) / K on all of the data, at temperature 1; no label is
    looked at. The division by the number of classes K is the reference's (its mean is over samples
    and classes), and its learning rate is chosen for it.
    """

    forwards = 2

    def teachers(self, victim: Victim) -> Sequence[nn.Module]:
        """The good one and the bad one."""
        return victim.net, victim.fresh()

    def batches(self, split: Split) -> Loader:
        return split.flagged()

    def loss(self, net: nn.Module, batch: Any, *teachers: nn.Module) -> Tensor:
        x, known = batch
        good, bad = (teacher(x) for teacher in teachers)
        student = F.log_softmax(wide(net(x)), 1)
        return F.kl_div(student, target(good, bad, known), reduction="batchmean") / good.shape[1]
