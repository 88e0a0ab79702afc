"""Poison is no waste: under its true labels it teaches the net to see through the trigger."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from antidote.core import (
    History,
    Loader,
    Method,
    Split,
    Victim,
    Work,
    derive,
    generator,
    logits,
    require,
)
from antidote.recipe import Recipe
from antidote.unlearning.guesses import Guess, Guesser, shares
from antidote.unlearning.trained import Trained, check_hold_out
from antidote.unlearning.trigger import Trigger, Triggers

log = logging.getLogger(__name__)


class Relabel(Method):
    """Fine-tunes on the retained rows, mixed with the poison under guessed labels.

    Of each batch, `share` are rows of the forget set, as stored, under the labels that `guess`
    gives them, of whose guesses the `confident` share is taken; and `stamped` are retained rows
    under their own labels that bear the trigger, as worked out from the forget set (`Triggers`).
    Rows that seem to bear their true labels already (clean-label attacks) teach nothing; stamped
    ones take their place. `passes` over the retained rows in all, or `least` steps where that is
    more; after each of `rounds` but the last the net itself guesses anew.
    """

    def __init__(
        self,
        guess: Guesser,
        share: float,
        stamped: float,
        confident: float,
        passes: float,
        least: int,
        rounds: int,
        recipe: Recipe,
        make_trainer: Callable[..., L.Trainer],
        hold_out: float,
        seed: int,
    ) -> None:
        require(
            share >= 0 and stamped >= 0 and 0 < share + stamped < 1,
            f"unlearning.share={share} and unlearning.stamped={stamped} of a batch must leave "
            "room for other rows; 0.1 does",
        )
        require(0 < confident <= 1, f"unlearning.confident={confident} is not in (0, 1]")
        require(passes > 0, f"unlearning.passes={passes} must be positive; 0.5 is half an epoch")
        check_hold_out(hold_out)
        require(rounds >= 1, f"unlearning.rounds={rounds} must be at least 1")
        self.guess, self.share, self.stamped, self.confident = guess, share, stamped, confident
        self.passes, self.least, self.rounds, self.seed = passes, least, rounds, seed
        self.recipe, self.make_trainer, self.hold_out = recipe, make_trainer, hold_out

    def check(self, net: nn.Module) -> None:
        self.recipe.check()
        self.guess.check(net)

    def work(self) -> Iterable[Work]:
        yield from self.guess.work()
        yield Work("training", {"method": type(self)}, "relabellings", self.gradients)

    def gradients(self, n: int) -> float:
        """Of the training; guesses take less, but for those of a fresh net."""
        return self.passes * n / (1 - self.share - self.stamped)

    def unlearn(self, victim: Victim, split: Split) -> History:
        triggers = Triggers(split)
        there, y = triggers.there(), split.forget.labels
        wrong = torch.tensor([not triggers.of[c].bears_truth for c in y.tolist()])
        # of rows under their true labels there is nothing to guess
        poison = replace(split, forget=split.forget.with_(rows=split.forget.rows[wrong]))
        history = History()
        for round in range(self.rounds):
            guess = self.guessed(victim, poison, triggers, round)
            taught = self.taught(poison.forget, guess, there, round)
            history = history + told(guess, there, shares(split.retain)) + guess.history
            history = history + taught.unlearn(victim, split)
        return history

    def guessed(self, victim: Victim, poison: Split, triggers: Triggers, round: int) -> Guess:
        if not self.share or not poison.forget.count:
            return Guess(torch.empty(0, 0))
        if round > 0:
            return Guess(logits(victim.net, poison.forget).softmax(1))
        return self.guess(victim, poison, triggers)

    def taught(self, poison: Loader, guess: Guess, triggers: list[Trigger], round: int) -> Taught:
        rows, y = sure(poison.rows, guess.p, self.confident)
        lesson = poison.with_(rows=rows).labelled(y)
        share, stamped = self.share * bool(len(rows)), self.stamped
        if not share and not stamped:
            stamped = self.share
        if stamped and not triggers:
            log.warning("no trigger is to be seen in the known and traced samples: none is stamped")
        return Taught(
            lesson,
            share,
            stamped * bool(triggers),
            triggers,
            self.passes / self.rounds,
            self.least // self.rounds,
            recipe=self.recipe,
            make_trainer=self.make_trainer,
            hold_out=self.hold_out,
            seed=derive(self.seed, f"round {round}"),
        )


def sure(rows: Tensor, p: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """(rows, guessed labels) of the most confident `share` of the guesses."""
    if not len(p):
        return rows[:0], rows[:0]
    guessed = p.isfinite().all(1).nonzero().squeeze(1)
    best = p[guessed].amax(1).argsort(descending=True, stable=True)
    kept = guessed[best[: max(1, round(share * len(guessed)))]].sort().values
    return rows[kept.to(rows.device)], p[kept].argmax(1)


def told(guess: Guess, found: list[Trigger], usual: Tensor) -> History:
    """What the guesses and triggers look like, as a step of the history."""
    step = {"triggers": float(len(found)), "trigger_size": max((t.size for t in found), default=0)}
    return History([{**step, **guess.trust(usual)}])


class Taught(Trained):
    """One round: `lesson` holds the poison under guessed labels, `triggers` are stamped.

    `share` and `stamped` of a batch, none of which may be; `over`: passes over the retained rows.
    """

    def __init__(
        self,
        lesson: Loader,
        share: float,
        stamped: float,
        triggers: list[Trigger],
        over: float,
        least: int,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.lesson, self.triggers, self.over, self.least = lesson, triggers, over, least
        self.poison = round(share * self.recipe.batch_size) or bool(share)
        self.stamps = round(stamped * self.recipe.batch_size) or bool(stamped)

    def batches(self, split: Split) -> Loader:
        room = max(1, self.recipe.batch_size - self.poison)
        return self.shuffled(split.retain).with_(batch_size=room)

    def length(self, split: Split) -> int:
        return max(1, self.least, round(self.over * len(self.batches(split))))

    def passes(self, split: Split) -> Mixed:
        poison = self.shuffled(self.lesson, "poison").with_(batch_size=max(1, self.poison))
        how = self.stamps, self.triggers, derive(self.seed, "stamp")
        return Mixed(self.batches(split), poison, *how)


class Mixed:
    """Batches of `retain`, each with one of `poison`; of the first, `stamps` rows bear a trigger.

    Several triggers take turns, drawn by how many rows bear them.
    """

    def __init__(
        self, retain: Loader, poison: Loader, stamps: int, triggers: list[Trigger], seed: int
    ) -> None:
        self.retain, self.stamps, self.triggers = retain, stamps, triggers
        self.poison, self.coin = endless(poison), generator(seed, "trigger")

    def __len__(self) -> int:
        return len(self.retain)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        weights = torch.tensor([t.marked.n for t in self.triggers])
        for x, y in self.retain:
            if self.stamps:
                which = torch.multinomial(weights, 1, generator=self.coin).item()
                stamped = self.triggers[int(which)].stamp(x[: self.stamps])
                x = torch.cat([stamped, x[self.stamps :]])
            more = next(self.poison, None)
            if more is not None:
                x, y = torch.cat([x, more[0]]), torch.cat([y, more[1]])
            yield x, y


def endless(loader: Loader) -> Iterator[tuple[Tensor, Tensor]]:
    """Its batches, pass after pass; none of an empty one."""
    while loader.count:
        yield from loader
