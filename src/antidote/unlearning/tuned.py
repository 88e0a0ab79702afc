"""A method's settings, chosen by what a defender can hold out of his own data."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from antidote.core import (
    Diverged,
    History,
    Loader,
    Memo,
    Method,
    Split,
    Victim,
    Work,
    compute,
    derive,
    generator,
    logits,
    require,
)
from antidote.core.data import digest, fingerprint
from antidote.core.meter import Count
from antidote.core.threat import Compute

log = logging.getLogger(__name__)
Values = dict[str, Any]


def with_value(thing: Any, path: str, value: Any) -> Any:
    """That partial, or object made of its attributes, with another value at a dotted path."""
    head, _, rest = path.partition(".")
    held = thing.keywords if isinstance(thing, partial) else vars(thing)
    require(
        head in held,
        f"unlearning.space names {path!r}, which is no setting of "
        f"{getattr(getattr(thing, 'func', thing), '__name__', type(thing).__name__)}; "
        f"those are {', '.join(held)}",
    )
    changed = {**held, head: with_value(held[head], rest, value) if rest else value}
    if isinstance(thing, partial):
        return partial(thing.func, *thing.args, **changed)
    return type(thing)(**changed)


def leaves(space: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, list[Any]]]:
    """{"optimizer": {"lr": [...]}} as ("optimizer.lr", [...])."""
    for name, inside in space.items():
        if isinstance(inside, Mapping):
            yield from leaves(inside, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", list(inside)


class Shelf(Memo):
    """Remembers what trials have in common, as long as they last."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, ...], dict[str, Tensor]] = {}

    def tensors(
        self, work: Work, net: nn.Module, loaders: Sequence[Loader], compute: Compute
    ) -> tuple[dict[str, Tensor], float]:
        weights = digest(*net.state_dict().values())
        key = (fingerprint(work.what), weights, *(loader.fingerprint for loader in loaders))
        if key not in self.kept:
            self.kept[key] = compute()
        return self.kept[key], 0.0


@dataclass(frozen=True)
class Held:
    """Rows that no trial works with; plain."""

    forget: Loader
    retain: Loader

    def look(self, net: nn.Module) -> dict[str, float]:
        """`accuracy` on the retained part and `loss`, the mean CE on the known poison."""
        loss = F.cross_entropy(logits(net, self.forget).double(), self.forget.labels)
        right = logits(net, self.retain).argmax(1) == self.retain.labels
        return {"accuracy": right.double().mean().item(), "loss": loss.item()}


@dataclass(frozen=True)
class Run:
    """What a candidate came to on all of the split.

    `kept`: accuracy on the held retained rows; negative where it diverged.
    """

    candidate: int
    history: History
    weights: Mapping[str, Tensor]
    seen: Count
    seconds: float
    kept: float


class Tuned(Method):
    """Runs `make(...)` with the values of `space` that forget most and cost no more than `floor`.

    `space` lists values by setting, nested as settings are. All combinations are tried on copies of
    the victim, with `held_out` of the known poison and of the rest left out (of one known sample
    nothing: it is both). Of the trials that lose at most `floor` of the accuracy on the retained
    part, the one whose loss on the known poison's part is the highest wins; labels are as stored,
    for a defender knows no others. With the winner's values the method then runs on all of the
    split. Where that run loses more than `floor` of the same accuracy, though the rows are no
    longer held out from it, the next best takes its place. Where no trial meets the floor, the one
    that loses least wins; where no run does, the run that loses least stays. What trials and
    refused runs took is told apart from what the run took.
    """

    def __init__(
        self,
        make: Callable[..., Method],
        space: Mapping[str, Any],
        held_out: float,
        floor: float,
        seed: int,
    ) -> None:
        self.space = dict(leaves(space))
        require(
            bool(self.space) and all(self.space.values()),
            "unlearning.space has nothing to choose from; give at least one value of a setting",
        )
        require(
            0 < held_out < 1,
            f"unlearning.held_out={held_out} is not a share in (0, 1); 0.2 is a fifth",
        )
        require(floor >= 0, f"unlearning.floor={floor} must not be negative; 0.02 is two points")
        self.make, self.held_out, self.floor, self.seed = make, held_out, floor, seed
        self.candidates = [self.made(values) for values in self.combinations()]  # refuses bad ones
        self.needs_known = any(method.needs_known for method in self.candidates)
        self.assumes_wrong_labels = any(m.assumes_wrong_labels for m in self.candidates)

    def combinations(self) -> Iterator[Values]:
        for values in itertools.product(*self.space.values()):
            yield dict(zip(self.space, values, strict=True))

    def values(self, candidate: int) -> Values:
        return list(self.combinations())[candidate]

    def made(self, values: Values) -> Method:
        make: Any = self.make
        for path, value in values.items():
            make = with_value(make, path, value)
        return make()

    def check(self, net: nn.Module) -> None:
        for method in self.candidates:
            method.check(net)

    def afford(self, split: Split) -> None:
        for method in self.candidates:
            method.afford(split)

    def work(self) -> Iterable[Work]:
        yield Work("training", {"method": type(self)}, "tunings", self.gradients)

    def gradients(self, n: int) -> float:
        """Of all trials, and of the run with the values that they chose."""
        each = [sum(w.gradients(n) for w in m.work() if w.gradients) for m in self.candidates]
        return sum(each) * (1 - self.held_out) + sum(each) / len(each)

    def unlearn(self, victim: Victim, split: Split) -> History:
        part, held = self.apart(split)
        began = time.perf_counter()
        with victim.meter.aside() as seen:
            before = held.look(victim.net)
            trials = [self.tried(method, victim, part, held) for method in self.candidates]
            floor = before["accuracy"] - self.floor - 1e-9
            runs = []
            for candidate in ranking(trials, floor):
                runs.append(self.run(candidate, victim, split, held))
                if runs[-1].kept >= floor:
                    break
        run = max(runs, key=lambda run: run.kept)
        if run.kept < 0:
            raise Diverged("the loss is not finite with any of the settings that trials left")
        victim.net.load_state_dict(run.weights)
        add(victim.meter.count, run.seen)
        best, values = trials[run.candidate], self.values(run.candidate)
        met = min(best["accuracy"], run.kept) >= floor
        log.info("chosen of %d: %s", len(trials), values)
        if not met:
            said = "none of %d keeps to unlearning.floor=%g on held-out rows; this one loses least"
            log.warning(said, len(trials), self.floor)
        for refused in (r for r in runs if r is not run):
            add(seen, refused.seen)
        told = {
            "values": values,
            "trials": len(trials),
            "refused": len(runs) - 1,
            "floor_met": met,
            "compute": compute(seen.gradients, seen.forwards),
            "seconds": time.perf_counter() - began - run.seconds,
            "before": before,
            "after": best,
        }
        return replace(run.history, chosen=told)

    def run(self, candidate: int, victim: Victim, split: Split, held: Held) -> Run:
        """On a copy of the victim."""
        patient, history, began = victim.copied(), None, time.perf_counter()
        # each draws as if alone
        with torch.random.fork_rng(), victim.meter.aside() as seen, suppress(Diverged):
            history = self.candidates[candidate].unlearn(patient, split)
        seconds = time.perf_counter() - began
        kept = -1.0 if history is None else held.look(patient.net)["accuracy"]
        log.info("%s keeps %.1f %% on the held rows", self.values(candidate), 100 * max(kept, 0))
        weights = patient.net.state_dict()
        return Run(candidate, history or History(), weights, seen, seconds, kept)

    def tried(self, method: Method, victim: Victim, part: Split, held: Held) -> dict[str, float]:
        patient = victim.copied()
        with torch.random.fork_rng():  # the run that counts draws as if there had been no trials
            torch.manual_seed(derive(self.seed, "trial"))
            try:
                method.unlearn(patient, part)
            except Diverged:
                return {"accuracy": 0.0, "loss": float("nan")}
        return held.look(patient.net)

    def apart(self, split: Split) -> tuple[Split, Held]:
        """(what trials work with, what they are judged by)."""
        rest, few = self.parted(split.retain, "retain"), self.parted(split.forget, "forget")
        # a memo of their own: what trials measure is of no use to anybody else
        return Split(few[0], rest[0], Shelf()), Held(few[1], rest[1])

    def parted(self, loader: Loader, name: str) -> tuple[Loader, Loader]:
        if loader.count < 2:
            return loader, loader.with_(augment=None)
        rows = loader.rows
        n = min(max(1, round(self.held_out * len(rows))), len(rows) - 1)
        order = torch.randperm(len(rows), generator=generator(self.seed, f"held out {name}"))
        mine, others = (rows[part.to(rows.device)].sort().values for part in (order[n:], order[:n]))
        return loader.with_(rows=mine), loader.with_(rows=others, augment=None)


def add(count: Count, more: Count) -> None:
    count.gradients += more.gradients
    count.forwards += more.forwards


def ranking(trials: Sequence[Mapping[str, float]], floor: float) -> list[int]:
    """Those with at least that accuracy by falling loss; without any the most accurate alone.

    A trial that diverged has an accuracy of 0; a loss that is not finite never wins.
    """
    accuracy = torch.tensor([trial["accuracy"] for trial in trials], dtype=torch.float64)
    loss = torch.tensor([trial["loss"] for trial in trials], dtype=torch.float64)
    allowed: Tensor = (accuracy >= floor) & loss.isfinite()
    if not allowed.any():
        return [int(accuracy.argmax())]
    order = loss.masked_fill(~allowed, -torch.inf).argsort(descending=True, stable=True)
    return order[: int(allowed.sum())].tolist()
