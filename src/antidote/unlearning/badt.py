"""BadT, the bad teacher (Chundawat et al. 2023, arXiv 2205.08096)."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from antidote.core import Loader, Split, Victim
from antidote.unlearning.finetune import Fraction


def target(good: Tensor, bad: Tensor, known: Tensor) -> Tensor:
    """Shares (n, K): the bad teacher's where `known` (n,) is 1, the good one's where it is 0."""
    known = known.to(good.dtype).unsqueeze(1)
    return known * bad.softmax(1) + (1 - known) * good.softmax(1)


class BadTeacher(Fraction):
    """The student learns what two teachers answer: the victim, and on known poison a fresh net.

    loss = mean_i KL(target_i || student_i) / K on all of the data, at temperature 1; no label is
    looked at. The division by the number of classes K is the reference's (its mean is over samples
    and classes), and its learning rate is chosen for it.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.teachers: list[
            nn.Module
        ] = []  # in a list, so that they are no part of what is trained

    def prepare(self, victim: Victim) -> nn.Module:
        good, bad = copy.deepcopy(victim.net), victim.fresh()
        self.teachers = [net.eval().requires_grad_(False) for net in (good, bad)]
        return victim.net.train()

    def batches(self, split: Split) -> Loader:
        return split.flagged()

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, known = batch
        with torch.no_grad():
            good, bad = (teacher.to(x.device)(x) for teacher in self.teachers)
        student = F.log_softmax(self.net(x), 1)
        loss = F.kl_div(student, target(good, bad, known), reduction="batchmean") / good.shape[1]
        return self.told(loss, len(x))
