"""Who knows what: the attack and its truth | the defender's world | the methods.

Imports torch only.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from antidote.core.data import Data, Loader, Samples, View
from antidote.core.meter import FORWARD, Meter

Measure = Callable[[nn.Module, Loader], dict[str, float]]


@dataclass(frozen=True)
class Probe:
    """What to measure on which rows. Labels are the truth, so a higher accuracy is healthier."""

    loader: Loader
    measure: Measure


class Verdict(ABC):
    """What healing means for an attack.

    `needs_ceiling`: it cannot be told without a net that never saw the poison.
    """

    needs_ceiling: ClassVar[bool] = False

    @abstractmethod
    def __call__(
        self,
        before: Mapping[str, float],
        after: Mapping[str, float],
        ceiling: Mapping[str, float] | None = None,
    ) -> dict[str, float | None]:
        """A run in few numbers, from what the probes measured; None where one has no meaning.

        `healed` and `accuracy_drop` are among them, whatever the attack. `ceiling`: the figures of
        a net that never saw the poison, if there is one to compare with.
        """


@dataclass(frozen=True)
class Poison:
    """What an attack leaves: the training set the victim sees, the rows touched, how to measure it.

    `truth` (n,): the true label of every row of `train`. `view(x, rows)` stamps training rows after
    augmentation; `probes` are named by their metric prefix. `discoverable`: those of `indices` that
    somebody can come across; None: all. `classes`: those that it is about, by
    the setting that names them: {"target_class": [3]}.
    """

    train: Samples
    truth: Tensor
    indices: Tensor
    probes: Mapping[str, Probe]
    verdict: Verdict
    view: View | None = None
    discoverable: Tensor | None = None
    classes: Mapping[str, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """A piece of a method's work that is counted, timed, and kept if it can be had again.

    `kind`: "importances", "search", "tracing", "crafting" or "training". `what`: all that
    determines its result, besides net and data. `name`: what a plan calls it. `gradients(n)`: about
    how many sample gradients it takes for n training rows, where that can be told beforehand.
    """

    kind: str
    what: Mapping[str, Any]
    name: str
    gradients: Callable[[int], float] | None = None


Tries = dict[int, dict[str, float]]
Compute = Callable[[], dict[str, Tensor]]


class Memo:
    """Remembers nothing. The engine's remembers, by work, net and loaders as they are at the call.

    Both verbs take those three, so that a method which hands over an edited net, or other rows,
    can never be given what belongs to another.
    """

    def tensors(
        self, work: Work, net: nn.Module, loaders: Sequence[Loader], compute: Compute
    ) -> tuple[dict[str, Tensor], float]:
        """(`compute()` or what it returned before, seconds that were spared)."""
        return compute(), 0.0

    def tries(
        self, work: Work, net: nn.Module, loaders: Sequence[Loader]
    ) -> tuple[Tries, Callable[[Tries], None]]:
        """What the tries of a search gave in earlier runs, and a function that keeps more."""
        return {}, lambda tries: None


@dataclass(frozen=True)
class Surrogate:
    """A clean model, for attacks that are crafted against one.

    It is trained when called, by the victim's recipe but from other draws than the victim's: an
    attacker knows how a victim will be trained, not from which weights. `memo` keeps what is
    crafted, by net and loaders.
    """

    train: Callable[[], nn.Module]
    memo: Memo = field(default_factory=Memo, repr=False, compare=False)

    def __call__(self) -> nn.Module:
        return self.train()


class Attack(ABC):
    """Turns clean data into poisoned.

    `needs_surrogate`: it calls the surrogate, which a plan counts.
    """

    needs_surrogate = False

    def check_net(self, net: nn.Module) -> None:  # noqa: B027  most take any net
        """Raises `BadInput` if it cannot craft against such a net, before a surrogate is fitted."""

    @abstractmethod
    def poison(self, data: Data, surrogate: Surrogate) -> Poison: ...


@dataclass(frozen=True)
class Split:
    """A defender's whole world: the known poison | all else, the undiscovered rest in it.

    Both with labels and trigger as training saw them.
    """

    forget: Loader
    retain: Loader
    memo: Memo = field(default_factory=Memo, repr=False, compare=False)

    def flagged(self) -> Loader:
        """All rows; y is 1 for known poison and 0 for the rest, in place of the labels."""
        samples, known = self.retain.samples, self.forget.rows
        flags = torch.zeros_like(samples.y)
        flags[known] = 1
        rows = torch.cat([self.retain.rows, known]).sort().values
        return self.retain.with_(samples=Samples(samples.x, flags), rows=rows)


@dataclass(frozen=True)
class History:
    """What an unlearning method says of its own work; a chain's is the sum of its parts'.

    `steps`: one dict of numbers per try or epoch. `sample_gradients`: samples passed forward and
    backward. `saved` and `spared`: seconds and forward passes of work that was remembered, to be
    added to what the clock and the meter say for an honest cost. `search`: how a search ended, or
    None. `chosen`: settings that were chosen by trials, or None; what those took is in it, and in
    none of the other numbers.
    """

    steps: Sequence[Mapping[str, float]] = ()
    sample_gradients: int = 0
    saved: float = 0.0
    search: Mapping[str, Any] | None = None
    spared: int = 0
    chosen: Mapping[str, Any] | None = None

    def __add__(self, other: History) -> History:
        return History(
            [*self.steps, *other.steps],
            self.sample_gradients + other.sample_gradients,
            self.saved + other.saved,
            other.search or self.search,
            self.spared + other.spared,
            other.chosen or self.chosen,
        )


@dataclass
class Victim:
    """A trained model.

    `net` maps a batch to logits (n, K) and comes in evaluation mode; `fresh()` makes an untrained
    net of the same kind.
    `precision()`: the autocast in which accuracies are measured; one for each measurement, since an
    autocast goes on using the weights that it first met. `meter` sees what its nets see.
    """

    net: nn.Module
    fresh: Callable[[], nn.Module]
    precision: Callable[[], AbstractContextManager[Any]] = nullcontext
    meter: Meter = field(default_factory=Meter)

    def copied(self) -> Victim:
        """A copy to try something on; what it sees is counted as well."""
        return replace(self, net=copy.deepcopy(self.net))


class Defence:
    """What a defender does with a split: settings only.

    Whatever a call needs is born in the call, so a defence can be used twice.
    """

    needs_known = True  # False: works with an empty forget set

    def check(self, net: nn.Module) -> None:
        """Raises `BadInput` if it cannot take this net, before any compute."""

    def work(self) -> Iterable[Work]:
        """The pieces of its work, those of the defences inside it included."""
        return ()


class Method(Defence, ABC):
    """An unlearning method.

    `assumes_wrong_labels`: it is made for known poison whose labels are wrong, and takes an answer
    that agrees with them for poison. `gentler`: what to turn where it did too much damage.
    """

    assumes_wrong_labels = False
    gentler = ""

    def afford(self, split: Split) -> None:
        """Raises `BadInput` if its budget is too small for this split, before any compute."""

    @abstractmethod
    def unlearn(self, victim: Victim, split: Split) -> History:
        """Edits `victim.net` in place, from nothing but the split."""


@dataclass(frozen=True)
class Traced:
    """What a tracer found among the retained rows.

    `rows` (m,): suspected to be poison. `scores` (n,), in the order of `split.retain.rows`: more is
    more suspicious; NaN for a row that was not looked at. `evidence`: what the cut rests on.
    `forwards`: passes without a gradient, as the engine's meter has counted them.
    """

    rows: Tensor
    scores: Tensor
    evidence: Mapping[str, float] = field(default_factory=dict)
    sample_gradients: int = 0
    forwards: int = 0


class Tracer(Defence, ABC):
    """Goes from the known poison to the undiscovered rest of it."""

    def work(self) -> Iterable[Work]:
        what = {"by": type(self), **vars(self)}
        yield Work("tracing", what, f"tracings, {type(self).__name__}", self.gradients)

    def gradients(self, n: int) -> float:
        """Most look at every row once, which is a third of a sample gradient."""
        return FORWARD * n

    @abstractmethod
    def trace(self, victim: Victim, split: Split) -> Traced:
        """Reads the net, which stays as it is, and nothing but the split."""
