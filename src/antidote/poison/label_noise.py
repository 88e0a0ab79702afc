"""Random label swap (Corrective Machine Unlearning, arXiv 2402.14015): labels change places."""

from __future__ import annotations

import torch

from antidote.core import (
    Attack,
    Data,
    Loader,
    Poison,
    Probe,
    Samples,
    Surrogate,
    everything,
    generator,
    require,
)
from antidote.metrics.accuracy import Obedience, PlainAccuracy
from antidote.metrics.score import Recovery
from antidote.poison.draw import check_rate, draw


class LabelNoise(Attack):
    """The labels of `rate` of the training samples are permuted among themselves.

    The histogram of classes stays, and about 1/K of the poison keeps its true label. What such an
    attack harms most is what the net says of the poisoned training images themselves (`poisoned`).
    """

    def __init__(self, rate: float, seed: int) -> None:
        check_rate(rate)
        self.rate, self.seed = rate, seed

    def poison(self, data: Data, surrogate: Surrogate) -> Poison:
        indices = draw(self.rate, data.train, self.seed)
        order = torch.randperm(len(indices), generator=generator(self.seed, "label swap"))
        labels = data.train.y.clone()
        labels[indices] = data.train.y[indices[order.to(indices.device)]]
        require(
            bool((labels[indices] != data.train.y[indices]).any()),
            f"poison.rate={self.rate} swaps the labels of {len(indices)} samples and changes none; "
            "raise the rate",
        )
        return Poison(
            train=Samples(data.train.x, labels),
            truth=data.train.y,
            indices=indices,
            probes={
                "test": Probe(everything(data.test), PlainAccuracy(data.num_classes)),
                "poisoned": Probe(Loader(data.train, indices), Obedience(labels[indices])),
            },
            verdict=Recovery(
                "poisoned/accuracy", "test/accuracy", "poisoned/success", "poisoned/accuracy"
            ),
        )
