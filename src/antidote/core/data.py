"""Data and loaders, and the seeds of random choices. Imports torch only."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import CodeType
from typing import Any

import torch
from torch import Tensor


def derive(seed: int, draw: str) -> int:
    """A seed of its own for the random choice called `draw`, so that no draw disturbs another."""
    digest = hashlib.sha256(f"{seed}/{draw}".encode()).digest()
    return int.from_bytes(digest[:6], "big")


def generator(seed: int, draw: str) -> torch.Generator:
    """A CPU generator for the random choice called `draw`."""
    return torch.Generator().manual_seed(derive(seed, draw))


def digest(*tensors: Tensor) -> str:
    """SHA-256 over types, shapes and bytes, whatever the memory layout."""
    h = hashlib.sha256()
    for t in tensors:
        h.update(f"{t.dtype}{tuple(t.shape)}".encode())
        h.update(t.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return h.hexdigest()


def described(thing: Any) -> Any:
    """A value as JSON knows it: tensors by their bytes, functions and classes by their path.

    Objects are their class and attributes; raises TypeError for what has neither. Functions that
    can share a path, as two lambdas do, are told apart by what they hold and by their code.
    """
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if isinstance(thing, Tensor):
        return digest(thing)
    if isinstance(thing, Mapping):
        return {str(k): described(v) for k, v in thing.items()}
    if isinstance(thing, list | tuple):
        return [described(v) for v in thing]
    if isinstance(thing, functools.partial):
        return [described(thing.func), described(thing.args), described(thing.keywords)]
    if hasattr(thing, "__qualname__"):
        return [f"{thing.__module__}.{thing.__qualname__}", *map(described, held(thing))]
    if hasattr(thing, "__dict__"):
        return [described(type(thing)), described(vars(thing))]
    raise TypeError(f"{thing!r} cannot be part of a fingerprint")


def held(function: Any) -> Iterator[Any]:
    """What a function or class brings along besides its name."""
    if inspect.ismethod(function):
        yield function.__self__
    yield from (cell.cell_contents for cell in getattr(function, "__closure__", None) or ())
    yield from getattr(function, "__defaults__", None) or ()
    yield from (getattr(function, "__kwdefaults__", None) or {}).items()
    if "<" in function.__qualname__ and hasattr(function, "__code__"):
        yield body(function.__code__)


def body(code: CodeType) -> list[Any]:
    """What code does, wherever it stands."""

    def told(constant: Any) -> Any:
        if isinstance(constant, CodeType):
            return body(constant)
        # a set has another order in each process
        return sorted(map(repr, constant)) if isinstance(constant, frozenset) else repr(constant)

    return [code.co_code.hex(), code.co_names, [told(c) for c in code.co_consts]]


def fingerprint(*parts: Any) -> str:
    """A short hash of whatever `described` knows."""
    text = json.dumps([described(part) for part in parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


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

    `augment(x, generator)` works on a whole float batch and keeps its shape. `facts` are what a net
    must know and are handed to its factory; images: `mean` and `std` (C,) per channel, in 0..1
    pixel units. `names`: of the training rows, as train/cat/7.png; () where they have none.
    `left_out`: names of what is there and is no training row.
    """

    train: Samples
    test: Samples
    classes: tuple[str, ...]
    augment: Augment
    facts: Mapping[str, Any]
    names: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def to(self, device: torch.device) -> Data:
        return replace(self, train=self.train.to(device), test=self.test.to(device))


def as_float(x: Tensor) -> Tensor:
    """Bytes to floats in 0..1; anything else as it is."""
    return x.float().div_(255) if x.dtype == torch.uint8 else x


def batches(n: int, size: int, join: bool) -> int:
    """How many batches `n` rows are; with `join` a last one of one row is part of the one before.

    A net in training mode cannot take a batch of one where batch norm sees a 1x1 map.
    """
    count = -(-n // size)
    return count - 1 if join and n % size == 1 and count > 1 else count


def loader_fingerprint(
    origin: str, batch_size: int, shuffle: bool = False, seed: int = 0, join: bool = False
) -> str:
    """Of a loader, without one."""
    return fingerprint(origin, batch_size, shuffle, seed, join)


@dataclass(frozen=True)
class Loader:
    """Batches (x, y) sliced from `samples`, restricted to `rows`; iterate as often as you like.

    Order and augmentation are drawn from `seed` and the number of passes made so far, so two
    loaders made alike give the same batches. `view(x, rows)` is applied last: it stamps what must
    come after augmentation. The last partial batch is kept, but one of a single row is joined to
    the batch before if `join` says so. `origin` names samples, rows, augmentation and view without
    looking at them; None: `fingerprint` looks.
    """

    samples: Samples
    rows: Tensor
    batch_size: int = 512
    shuffle: bool = False
    augment: Augment | None = None
    view: View | None = None
    seed: int = 0
    join: bool = False
    origin: str | None = field(default=None, repr=False)
    _passes: list[int] = field(default_factory=lambda: [0], repr=False, compare=False)

    def with_(self, **changes: Any) -> Loader:
        """The same rows, read otherwise: `loader.with_(shuffle=True, batch_size=64)`."""
        content = {k: changes[k] for k in ("samples", "rows", "augment", "view") if k in changes}
        origin = self.origin
        if origin is not None and content:
            origin = fingerprint(origin, content)
        return replace(self, **{"origin": origin, **changes}, _passes=[0])

    @property
    def fingerprint(self) -> str:
        """Equal for loaders that give equal batches; by content where `origin` is not given."""
        origin = self.origin or fingerprint(self.samples, self.rows, self.augment, self.view)
        return loader_fingerprint(origin, self.batch_size, self.shuffle, self.seed, self.join)

    def __len__(self) -> int:
        return batches(len(self.rows), self.batch_size, self.join)

    @property
    def count(self) -> int:
        """Number of samples in one pass."""
        return len(self.rows)

    @property
    def labels(self) -> Tensor:
        """(n,) of its rows, as stored and in their order, whatever the batches' is."""
        return self.samples.y[self.rows]

    def hollow(self) -> Loader:
        """The same batches without x: for counting, at no cost."""
        nothing = torch.empty(len(self.samples), 0, device=self.samples.y.device)
        return self.with_(samples=Samples(nothing, self.samples.y), augment=None, view=None)

    def labelled(self, y: Tensor) -> Loader:
        """The same rows under labels `y` (n,)."""
        labels = self.samples.y.clone()
        labels[self.rows] = y.to(labels)
        return self.with_(samples=Samples(self.samples.x, labels))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        coin = generator(self.seed, f"pass {self._passes[0]}")
        self._passes[0] += 1
        rows = self.rows
        if self.shuffle:
            rows = rows[torch.randperm(len(rows), generator=coin).to(rows.device)]
        ends = [self.batch_size * i for i in range(1, len(self))]
        for part in rows.tensor_split(ends):
            x = as_float(self.samples.x[part])
            if self.augment is not None:
                x = self.augment(x, coin)
            if self.view is not None:
                x = self.view(x, part)
            yield x, self.samples.y[part]


def everything(samples: Samples, **how: Any) -> Loader:
    """A loader over all rows."""
    return Loader(samples, torch.arange(len(samples), device=samples.y.device), **how)
