"""Gaussian poison (Pawelczyk et al. 2024, arXiv 2406.17216): noise that only its author knows."""

from __future__ import annotations

import torch
from torch import Tensor

from antidote.core import (
    Attack,
    Data,
    Loader,
    Poison,
    Probe,
    Samples,
    Surrogate,
    View,
    as_float,
    everything,
    generator,
    one_of,
    require,
)
from antidote.metrics.accuracy import PlainAccuracy
from antidote.metrics.gus import GaussianScore
from antidote.metrics.membership import Membership
from antidote.metrics.score import Residual
from antidote.poison.draw import check_rate, count, order
from antidote.poison.triggered import STAGES

MOST = 2**33  # bytes of images with stored noise
TOLD = {
    "gus": "gus/score",
    "gus_z": "gus/z",
    "gus_p": "gus/p",
    "gus_control": "gus/control_score",
    "gus_tpr": "gus/tpr",
    "gus_auroc": "gus/auroc",
    "membership_tpr": "membership/tpr",
    "membership_auroc": "membership/auroc",
}


class Noise:
    """Adds its own noise `xi` (m, C, H, W), in pixel units, to each of `rows` of n rows."""

    def __init__(self, xi: Tensor, rows: Tensor, n: int) -> None:
        self.xi = xi
        self.place = torch.full((n,), -1, device=rows.device)
        self.place[rows] = torch.arange(len(rows), device=rows.device)

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        place = self.place[rows]
        here = (place >= 0).nonzero().squeeze(1)
        return x.index_add(0, here, self.xi[place[here]].to(x))


class Gaussian(Attack):
    """x_z = x_base + xi_z with xi_z ~ N(0, eps^2 I), drawn once per row; all labels stay true.

    Exactly `rate` of the training rows, from all classes; a smaller rate of one seed is inside a
    larger, noise included. `eps` is in units of the data's standard deviation per channel, in which
    the net sees the images. Nothing is clipped, or the noise would follow another law. `stage`:
    "pre_augment" adds it to the stored image, which crops and flips then move, "post_transform" to
    what augmentation returns.
    """

    def __init__(self, rate: float, eps: float, stage: str, seed: int) -> None:
        check_rate(rate)
        require(eps > 0, f"poison.eps={eps} is no noise; give more than 0, as 0.32")
        one_of("poison.stage", stage, STAGES)
        self.rate, self.eps, self.stage, self.seed = rate, eps, stage, seed

    def poison(self, data: Data, surrogate: Surrogate) -> Poison:
        require(
            "std" in data.facts,
            "poison=gaussian needs images with a standard deviation per channel; choose a dataset "
            "of images",
        )
        train, unit = data.train, data.facts["std"].to(data.train.x.device)
        drawn = order(train, self.seed)[: count(self.rate, train)]
        rows, places = drawn.sort()
        u, fresh = (self.draw(train, what)[places] for what in ("noise", "control"))
        view = Noise(self.eps * u * unit.view(-1, 1, 1), rows, len(train))
        pre = self.stage == "pre_augment"
        size = 4 * train.x.numel()
        require(
            not pre or size <= MOST,
            f"poison.stage=pre_augment stores all images as floats, {size / 1e9:.0f} GB here; "
            "poison.stage=post_transform adds the noise to what augmentation returns",
        )
        seen = Samples(noisy(train.x, rows, view), train.y) if pre else train
        after = None if pre else view
        return Poison(
            train=seen,
            truth=train.y,
            indices=rows,
            view=after,
            probes={
                "test": Probe(everything(data.test), PlainAccuracy(data.num_classes)),
                # at the clean image: at x + xi curvature alone would look like poison
                "gus": Probe(Loader(train, rows), GaussianScore(u, fresh, unit)),
                "membership": Probe(
                    Loader(seen, rows, view=after), Membership(self.unseen(data, unit))
                ),
            },
            verdict=Residual("gus/score", "gus/control_score", "gus/n", "test/accuracy", TOLD),
        )

    def draw(self, samples: Samples, what: str, n: int | None = None) -> Tensor:
        """Standard normal (n, C, H, W), one for each row that the attack takes."""
        n = count(self.rate, samples) if n is None else n
        shape, coin = samples.x.shape[1:], generator(self.seed, f"gaussian {what}")
        d, block = shape.numel(), 16  # torch draws in blocks, and the last of a draw anew
        flat = torch.randn(n, -(-d // block) * block, generator=coin)[:, :d]
        return flat.reshape(n, *shape).to(samples.x.device)

    def unseen(self, data: Data, unit: Tensor) -> Loader:
        """Test images with noise of the same law, which differ from the poison in nothing else.

        As many as are poisoned, or a thousand, for a hundredth of them is to be told.
        """
        n, poisoned = len(data.test), count(self.rate, data.train)
        rows = order(data.test, self.seed)[: max(poisoned, 1000)].sort().values
        xi = self.eps * self.draw(data.test, "unseen", len(rows)) * unit.view(-1, 1, 1)
        return Loader(data.test, rows, view=Noise(xi, rows, n))


def noisy(x: Tensor, rows: Tensor, view: View) -> Tensor:
    """A copy of all images as floats, `rows` viewed."""
    copy = as_float(x.clone())
    copy[rows] = view(copy[rows], rows)
    return copy
