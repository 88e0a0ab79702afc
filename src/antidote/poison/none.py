"""No attack: the clean baseline, and a data set that came poisoned from elsewhere."""

from __future__ import annotations

import torch

from antidote.core import Attack, Data, Poison, Probe, Surrogate, everything
from antidote.metrics.accuracy import PlainAccuracy
from antidote.metrics.score import Untouched


class NoPoison(Attack):
    """Leaves the data as they are; only test accuracy is measured."""

    def poison(self, data: Data, surrogate: Surrogate) -> Poison:
        return Poison(
            train=data.train,
            truth=data.train.y,
            indices=torch.empty(0, dtype=torch.int64, device=data.train.y.device),
            probes={"test": Probe(everything(data.test), PlainAccuracy(data.num_classes))},
            verdict=Untouched("test/accuracy"),
        )
