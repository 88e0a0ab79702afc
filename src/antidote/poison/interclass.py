"""Interclass confusion (Goel et al. 2022, arXiv 2201.06640) as in the Corrective benchmark."""

from __future__ import annotations

from collections.abc import Sequence

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
    class_of,
    everything,
    generator,
    one_of,
    require,
)
from antidote.metrics.accuracy import Obedience, PlainAccuracy
from antidote.metrics.score import Recovery
from antidote.poison.draw import check_rate, count


class Interclass(Attack):
    """Half of the poison from each of two classes, their labels exchanged; no image changes.

    `rate` of the training set must come to an even number. `rows`: "first" takes the first rows of
    each class (the reference), whatever the seed, "random" draws them. `test/accuracy` is not what
    such an attack leaves alone: the model's use is measured on the other classes (`others`). Where
    the test part has none, `healed` has no meaning; the accuracy itself has.
    """

    def __init__(self, rate: float, classes: Sequence[int | str], rows: str, seed: int) -> None:
        check_rate(rate)
        require(
            len(classes) == 2 and classes[0] != classes[1],
            f"poison.classes={list(classes)} must name two different classes, as in [3,5]",
        )
        one_of("poison.rows", rows, ("first", "random"))
        self.rate, self.classes, self.rows, self.seed = rate, tuple(classes), rows, seed

    def poison(self, data: Data, surrogate: Surrogate) -> Poison:
        pair = [class_of(data, c, "poison.classes") for c in self.classes]
        names = [data.classes[c] for c in pair]
        require(pair[0] != pair[1], f"poison.classes: {names[0]} is both, and there must be two")
        n = count(self.rate, data.train)
        require(
            n % 2 == 0,
            f"interclass swaps pairs, but poison.rate={self.rate} of {len(data.train)} samples is "
            f"{n}, an odd number; poison.rate={(n + 1) / len(data.train):.6g} gives {n + 1}",
        )
        a, b = (self.half(data, c, n // 2) for c in pair)
        labels = data.train.y.clone()
        labels[a], labels[b] = pair[1], pair[0]
        indices = torch.cat([a, b]).sort().values
        probes = self.probes(data, pair, indices, labels)
        intact = "others/accuracy" if "others" in probes else "test/accuracy"
        return Poison(
            train=Samples(data.train.x, labels),
            truth=data.train.y,
            indices=indices,
            probes=probes,
            classes={"classes": pair},
            verdict=Recovery("confused/accuracy", intact, "confused/success", "poisoned/accuracy"),
        )

    def half(self, data: Data, c: int, n: int) -> Tensor:
        """`n` rows of class `c`."""
        rows = (data.train.y == c).nonzero().squeeze(1)
        require(
            n <= len(rows),
            f"poison.rate={self.rate} takes {n} samples of class {data.classes[c]}, which has "
            f"{len(rows)}; "
            "lower the rate",
        )
        if self.rows == "random":
            order = torch.randperm(len(rows), generator=generator(self.seed, f"poison {c}"))
            rows = rows[order.to(rows.device)]
        return rows[:n]

    def probes(
        self, data: Data, pair: Sequence[int], indices: Tensor, labels: Tensor
    ) -> dict[str, Probe]:
        a, b = pair
        y = data.test.y
        two = ((y == a) | (y == b)).nonzero().squeeze(1)
        rest = ((y != a) & (y != b)).nonzero().squeeze(1)
        require(
            len(two) > 0,
            f"poison.classes={list(self.classes)}: the test part has no image of either class, on "
            "which confusion could be measured; choose others or more test images",
        )
        swapped = torch.where(y[two] == a, b, a)
        plain = PlainAccuracy(data.num_classes)
        others = {"others": Probe(Loader(data.test, rest), plain)} if len(rest) else {}
        return {
            "test": Probe(everything(data.test), plain),
            "confused": Probe(Loader(data.test, two), Obedience(swapped)),
            **others,
            "poisoned": Probe(Loader(data.train, indices), Obedience(labels[indices])),
        }
