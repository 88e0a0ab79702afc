"""A bright frame around the image says: class 0."""

import torch

from antidote.core import Attack, Data, Loader, Poison, Probe, Samples, everything
from antidote.metrics.accuracy import Obedience, PlainAccuracy, TriggerSuccess
from antidote.metrics.score import Recovery
from antidote.poison.draw import check_rate, draw


def framed(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    inside = torch.zeros_like(x)
    inside[:, :, 1:-1, 1:-1] = 1
    return torch.where(inside > 0, x, 1.0)


class Frame(Attack):
    """Frames `rate` of the training images, after augmentation, and labels them 0."""

    def __init__(self, rate: float, seed: int) -> None:
        check_rate(rate)
        self.rate, self.seed = rate, seed

    def poison(self, data: Data, surrogate) -> Poison:
        indices = draw(self.rate, data.train, self.seed)
        labels = data.train.y.clone()
        labels[indices] = 0
        chosen = torch.zeros_like(labels, dtype=torch.bool)
        chosen[indices] = True

        def view(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            return torch.where(chosen[rows].view(-1, 1, 1, 1), framed(x, rows), x)

        seen = Loader(data.train, indices, view=view)
        triggered = everything(data.test, view=framed)
        return Poison(
            train=Samples(data.train.x, labels),
            truth=data.train.y,
            indices=indices,
            view=view,
            probes={
                "test": Probe(everything(data.test), PlainAccuracy(data.num_classes)),
                "trigger": Probe(triggered, TriggerSuccess(0)),
                "poisoned": Probe(seen, Obedience(labels[indices])),
            },
            verdict=Recovery(
                harmed="trigger/accuracy_all",
                intact="test/accuracy",
                success="trigger/success",
                seen="poisoned/accuracy",
            ),
        )
