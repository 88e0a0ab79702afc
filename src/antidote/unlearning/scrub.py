"""SCRUB (Kurmanji et al. 2023, arXiv 2302.09880): away from the teacher on what to forget."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from antidote.core import Loader, Split, Victim, require
from antidote.unlearning.distance import kl
from antidote.unlearning.finetune import Fraction


class Rounds:
    """A pass over `forget` if `ascend(step, round)`, then one over `retain`, each time it is asked.

    Batches are (x, y, ascent). `step` and `round` count what was handed out so far.
    """

    def __init__(self, forget: Loader, retain: Loader, ascend: Callable[[int, int], bool]) -> None:
        self.forget, self.retain, self.ascend = forget, retain, ascend
        self.steps = self.rounds = 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, bool]]:
        away = self.ascend(self.steps, self.rounds)
        self.rounds += 1
        for loader, ascent in ((self.forget, True), (self.retain, False))[0 if away else 1 :]:
            for x, y in loader:
                self.steps += 1
                yield x, y, ascent


class WithTeacher(Fraction):
    """SCRUB's frame: the teacher is the victim as it came, in evaluation mode; it never moves.

    `length` steps are taken in rounds: away from the teacher on the known poison if `ascend` says
    so, then towards it on the rest. Both share one optimiser and its momentum.
    """

    forwards = 1

    def __init__(self, alpha: float, temperature: float, msteps: int, **settings: Any) -> None:
        super().__init__(**settings)
        require(alpha >= 0, f"unlearning.alpha={alpha} must not be negative")
        require(temperature > 0, f"unlearning.temperature={temperature} must be positive")
        require(msteps >= 0, f"unlearning.msteps={msteps} must not be negative; 0 never ascends")
        self.alpha, self.T, self.msteps = alpha, temperature, msteps

    @abstractmethod
    def ascend(self, step: int, round: int) -> bool:
        """Whether a round that begins after that many steps and rounds goes away first."""

    @abstractmethod
    def away(self, s: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """The loss on known poison, of the student's and the teacher's logits (n, K)."""

    @abstractmethod
    def towards(self, s: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """The loss on the rest."""

    def teachers(self, victim: Victim) -> Sequence[nn.Module]:
        return (victim.net,)

    def passes(self, split: Split) -> Rounds:
        forget, retain = self.shuffled(split.forget, "ascent"), self.shuffled(split.retain)
        return Rounds(forget, retain, self.ascend)

    def loss(self, net: nn.Module, batch: Any, *teachers: nn.Module) -> Tensor:
        x, y, ascent = batch
        (teacher,) = teachers
        t, s = teacher(x), net(x)
        return self.away(s, t, y) if ascent else self.towards(s, t, y)

    def called(self, batch: Any) -> str:
        return "ascent_loss" if batch[2] else "loss"

    def closing(self, steps: Mapping[str, int]) -> Sequence[Mapping[str, float]]:
        return [{"ascent_steps": float(steps["ascent_loss"])}]


class Scrub(WithTeacher):
    """As its authors have it: away is -KL, in the first `msteps` passes over the data.

    towards = gamma CE + alpha KL, with KL between the answers at `temperature`.
    """

    def __init__(self, gamma: float, **settings: Any) -> None:
        super().__init__(**settings)
        require(gamma >= 0, f"unlearning.gamma={gamma} must not be negative")
        self.gamma = gamma

    def ascend(self, step: int, round: int) -> bool:
        return round < self.msteps

    def away(self, s: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return -kl(t, s, self.T)

    def towards(self, s: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return self.gamma * F.cross_entropy(s, y) + self.alpha * kl(t, s, self.T)

    def length(self, split: Split) -> int:
        """The fraction of the recipe counts passes over the rest; the ascents come on top."""
        descents = super().length(split)
        rounds = -(-descents // len(self.shuffled(split.retain)))
        return descents + min(self.msteps, rounds) * len(self.shuffled(split.forget))


class ScrubCorrective(WithTeacher):
    """As Corrective Machine Unlearning and Potion have it: away is -towards = -(CE + alpha KL).

    A round goes away first while fewer than `msteps` steps of either kind have been taken: for up
    to 512 known samples and 100 msteps, two ascent steps in the whole run.
    """

    def ascend(self, step: int, round: int) -> bool:
        return step < self.msteps

    def away(self, s: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return -self.towards(s, t, y)

    def towards(self, s: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(s, y) + self.alpha * kl(t, s, self.T)
