"""The nouns every part of antidote speaks: data, loaders, probes, poison, split.

Imports torch only.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn


def derive(seed: int, draw: str) -> int:
    """A seed of its own for the random choice called `draw`, so that no draw disturbs another."""
    digest = hashlib.sha256(f"{seed}/{draw}".encode()).digest()
    return int.from_bytes(digest[:6], "big")


def generator(seed: int, draw: str) -> torch.Generator:
    """A CPU generator for the random choice called `draw`."""
    return torch.Generator().manual_seed(derive(seed, draw))


@dataclass(frozen=True)
class Samples:
    """Rows of a data set: `x` (n, ...) and labels `y` (n,) int64.

    Images are stored as bytes (uint8) or as floats in 0..1; `Loader` hands both on as floats in
    0..1. `x` is opaque to all but data set, attack and net, and may be a memory-mapped tensor.
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: Tensor) -> Samples:
        return Samples(self.x[rows], self.y[rows])

    def to(self, device: torch.device) -> Samples:
        return Samples(self.x.to(device), self.y.to(device))


Augment = Callable[[Tensor, torch.Generator], Tensor]
View = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Data:
    """A data set with true labels.

    `augment(x, generator)` works on a whole float batch and keeps its shape; `mean` and `std` (C,)
    are per channel, in 0..1 pixel units, and go into the net.
    """

    train: Samples
    test: Samples
    classes: tuple[str, ...]
    augment: Augment
    mean: Tensor
    std: Tensor

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def to(self, device: torch.device) -> Data:
        return replace(self, train=self.train.to(device), test=self.test.to(device))


def as_float(x: Tensor) -> Tensor:
    """Bytes to floats in 0..1; anything else as it is."""
    return x.float().div_(255) if x.dtype == torch.uint8 else x


@dataclass(frozen=True)
class Loader:
    """Batches (x, y) sliced from `samples`, restricted to `rows`; iterate as often as you like.

    Order and augmentation are drawn from `seed` and the number of passes made so far, so two
    loaders made alike give the same batches. `view(x, rows)` is applied last: it stamps what must
    come after augmentation. The last partial batch is kept.
    """

    samples: Samples
    rows: Tensor
    batch_size: int = 512
    shuffle: bool = False
    augment: Augment | None = None
    view: View | None = None
    seed: int = 0
    _passes: list[int] = field(default_factory=lambda: [0], repr=False, compare=False)

    def but(self, **changes: Any) -> Loader:
        """The same rows, read otherwise: `loader.but(shuffle=True, batch_size=64)`."""
        return replace(self, **changes, _passes=[0])

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    @property
    def count(self) -> int:
        """Number of samples in one pass."""
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        coin = generator(self.seed, f"pass {self._passes[0]}")
        self._passes[0] += 1
        rows = self.rows
        if self.shuffle:
            rows = rows[torch.randperm(len(rows), generator=coin).to(rows.device)]
        for part in rows.split(self.batch_size):
            x = as_float(self.samples.x[part])
            if self.augment is not None:
                x = self.augment(x, coin)
            if self.view is not None:
                x = self.view(x, part)
            yield x, self.samples.y[part]


def everything(samples: Samples, **how: Any) -> Loader:
    """A loader over all rows."""
    return Loader(samples, torch.arange(len(samples), device=samples.y.device), **how)


Measure = Callable[[nn.Module, Loader], dict[str, float]]


@dataclass(frozen=True)
class Probe:
    """What to measure on which rows. Labels are the truth, so a higher accuracy is healthier."""

    loader: Loader
    measure: Measure


@dataclass(frozen=True)
class Scores:
    """Which of an attack's metrics ("trigger/accuracy") play which part in a result.

    `harmed`: the accuracy that the attack lowers. `intact`: the one it leaves alone, the model's
    use. `success`: the share of answers the attacker wants. `column`: the papers' Acc_corr.
    """

    harmed: str
    intact: str
    success: str
    column: str


@dataclass(frozen=True)
class Poison:
    """What an attack leaves: the training set the victim sees, the rows touched, how to measure it.

    `view(x, rows)` stamps training rows after augmentation; `probes` are named by
    their metric prefix; `scores` is None where no attack took place.
    """

    train: Samples
    indices: Tensor
    probes: Mapping[str, Probe]
    view: View | None = None
    scores: Scores | None = None


class Attack(ABC):
    """Turns clean data into poisoned; `surrogate()` is a clean model, trained only when called."""

    @abstractmethod
    def poison(self, data: Data, surrogate: Callable[[], nn.Module]) -> Poison: ...


Once = Callable[[dict[str, Any], Callable[[], dict[str, Tensor]]], tuple[dict[str, Tensor], float]]


def compute(
    parts: dict[str, Any], work: Callable[[], dict[str, Tensor]]
) -> tuple[dict[str, Tensor], float]:
    """The `Once` that remembers nothing: (tensors, seconds saved = 0)."""
    return work(), 0.0


Tries = dict[int, dict[str, float]]
Record = Callable[[dict[str, Any]], tuple[Tries, Callable[[Tries], None]]]


def forget_tries(parts: dict[str, Any]) -> tuple[Tries, Callable[[Tries], None]]:
    """The `Record` that remembers nothing."""
    return {}, lambda tries: None


@dataclass(frozen=True)
class Split:
    """A defender's whole world: the known poison, and all else with the undiscovered rest in it.

    `once(parts, work)` returns `(work(), 0.0)`, or what an earlier call for the same victim, split
    and `parts` returned, with the seconds that it had taken. `record(parts)` returns what the tries
    of a search gave in earlier runs, by their number, and a function that keeps further ones.
    """

    forget: Loader
    retain: Loader
    once: Once = compute
    record: Record = forget_tries

    def flagged(self) -> Loader:
        """All rows; y is 1 for known poison and 0 for the rest, in place of the labels."""
        samples, known = self.retain.samples, self.forget.rows
        flags = torch.zeros_like(samples.y)
        flags[known] = 1
        rows = torch.cat([self.retain.rows, known]).sort().values
        return self.retain.but(samples=Samples(samples.x, flags), rows=rows)


@dataclass
class Report:
    """What an unlearning method says of its own work.

    `steps`: one dict of numbers per try or epoch. `sample_gradients`: samples passed
    forward and backward. `saved`: seconds of work that a cache spared, to be added to the
    wall clock for an honest cost.
    """

    steps: list[dict[str, float]] = field(default_factory=list)
    sample_gradients: int = 0
    saved: float = 0.0
    search: dict[str, Any] | None = None


@dataclass
class Victim:
    """A trained model.

    `net` maps a batch to logits (n, K); `fresh()` makes an untrained net of the same kind.
    """

    net: nn.Module
    fresh: Callable[[], nn.Module]


class Unlearner(Protocol):
    """Edits `victim.net` in place, from nothing but the split."""

    def unlearn(self, victim: Victim, split: Split) -> Report: ...
