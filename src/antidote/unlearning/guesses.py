"""What the true labels of poisoned rows might be."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from antidote.core import (
    BadInput,
    History,
    Loader,
    Method,
    Split,
    Victim,
    Work,
    logits,
    one_of,
    require,
)
from antidote.core.hidden import features, linear_head
from antidote.unlearning.trigger import Triggers

PROJECTED = "unlearning.guess...layer"


@dataclass(frozen=True)
class Guess:
    """`p` (m, K): probabilities of the classes, rows as in the forget set; NaN: no guess.

    `history`: what the guessing took.
    """

    p: Tensor
    history: History = field(default_factory=History)

    def trust(self, usual: Tensor) -> dict[str, float]:
        """Signs of good guesses: `confidence`, and `crowding` in few classes.

        That is how much further they lie from the classes' `usual` (K,) shares, in total variation,
        than as many true labels would in the mean (normal approximation).
        """
        p = self.p[self.p.isfinite().all(1)]
        if not len(p):
            return {"confidence": 0.0, "crowding": 1.0}
        # a class need not be among the retained rows
        shares = torch.bincount(p.argmax(1), minlength=len(usual)) / len(p)
        usual = F.pad(usual, (0, len(shares) - len(usual)))
        usual = usual.to(shares)
        chance = (2 / math.pi * usual * (1 - usual) / len(p)).sqrt()
        crowding = 0.5 * ((shares - usual).abs() - chance).sum()
        return {"confidence": p.amax(1).mean().item(), "crowding": max(crowding.item(), 0.0)}


class Guesser(ABC):
    """From the split alone to labels of its forget set."""

    def check(self, net: nn.Module) -> None:  # noqa: B027, most take every net
        """Raises `BadInput` if it cannot take this net."""

    def work(self) -> Iterable[Work]:
        """The pieces of work that are there in any case."""
        return ()

    @abstractmethod
    def __call__(self, victim: Victim, split: Split, triggers: Triggers) -> Guess: ...


class Removal(Guesser):
    """What the victim answers to the rows with the trigger taken out of their pixels.

    No guess for rows on which no trigger is to be seen.
    """

    def __call__(self, victim: Victim, split: Split, triggers: Triggers) -> Guess:
        forget = split.forget
        y = forget.labels
        p = torch.empty(0)
        for label, trigger in triggers.of.items():
            mine = (y == label).nonzero().squeeze(1)
            if not len(mine):
                continue
            part = forget.with_(rows=forget.rows[mine])
            found = logits(victim.net, part, trigger.removed).softmax(1)
            p = p if len(p) else found.new_full((len(y), found.shape[1]), torch.nan)
            if trigger.there:
                p[mine] = found
        return Guess(p)


class Projection(Guesser):
    """What the victim answers with the poison's direction taken out of its last features.

    u = unit vector of (mean feature of the forget set - m), m the mean of the retained rows;
    h <- h - ((h - m) . u) u. `layer`: the one that answers; None for the last linear one.
    """

    def __init__(self, layer: str | None) -> None:
        self.layer = layer

    def check(self, net: nn.Module) -> None:
        linear_head(net, self.layer, PROJECTED)

    @torch.no_grad()
    def __call__(self, victim: Victim, split: Split, triggers: Triggers) -> Guess:
        name, last = linear_head(victim.net, self.layer, PROJECTED)
        h, m = (
            features(victim.net, part.with_(augment=None), [name])[name]
            for part in (split.forget, split.retain)
        )
        m = m.mean(0)
        u = F.normalize(h.mean(0) - m, dim=0)
        h = h - ((h - m) @ u)[:, None] * u
        return Guess(last(h.to(last.weight)).softmax(1))


class ByMethod(Guesser):
    """What a net answers that `method` has made: a fresh one, or an edited one."""

    def __init__(self, method: Method) -> None:
        self.method = method

    def check(self, net: nn.Module) -> None:
        self.method.check(net)

    def work(self) -> Iterable[Work]:
        # its training is part of the time that the relabelling takes
        return (work for work in self.method.work() if work.kind != "training")

    def __call__(self, victim: Victim, split: Split, triggers: Triggers) -> Guess:
        other = victim.copied()
        history = self.method.unlearn(other, split)
        return Guess(logits(other.net, split.forget).softmax(1), history)


class FirstTrusted(Guesser):
    """The first of `guessers`, asked in that `order`, whose guesses look right; else the last.

    They do where they are at least so `confident` in the mean, and crowd in few classes by no more
    than `crowding` (`Guess.trust`). Those that cannot take the net are passed over.
    """

    def __init__(
        self,
        order: Sequence[str],
        guessers: Mapping[str, Guesser],
        confident: float,
        crowding: float,
    ) -> None:
        for name in order:
            one_of("unlearning.guess.order", name, guessers)
        require(len(order) > 0, "unlearning.guess.order is empty; name at least one guesser")
        # YAML's own order is that in which files are merged
        self.guessers = {name: guessers[name] for name in order}
        self.confident, self.crowding = confident, crowding

    def check(self, net: nn.Module) -> None:
        self.usable(net)

    def usable(self, net: nn.Module) -> list[Guesser]:
        """Raises what the last one does if none can take the net."""
        found: list[Guesser] = []
        for guesser in self.guessers.values():
            try:
                guesser.check(net)
                found.append(guesser)
            except BadInput:
                if not found and guesser is list(self.guessers.values())[-1]:
                    raise
        return found

    def __call__(self, victim: Victim, split: Split, triggers: Triggers) -> Guess:
        history, p = History(), torch.empty(0)
        usual = shares(split.retain)
        for guesser in (guessers := self.usable(victim.net)):
            guess = guesser(victim, split, triggers)
            history = history + guess.history
            trust = guess.trust(usual)
            good = trust["confidence"] >= self.confident and trust["crowding"] <= self.crowding
            if good or guesser is guessers[-1]:
                p = guess.p
                break
        return Guess(p, history)


def shares(loader: Loader) -> Tensor:
    """(K,) of the labels as stored."""
    y = loader.labels
    return torch.bincount(y) / len(y)
