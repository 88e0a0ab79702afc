"""The Lightning callback that unlearns, on the Trainer that fits, or restores, the victim."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from antidote.answers import answers
from antidote.cache import Cache, Entry, code_version, digest, modules_of
from antidote.checks import finite, require
from antidote.core import Data, Loader, Poison, Report, Split, Tries, Unlearner, Victim, derive
from antidote.evaluation import evaluate
from antidote.ledger import Ledger
from antidote.tracking import Tracker

Discover = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass
class Outcome:
    """What a run found; times are wall seconds.

    `victim` is the net before, the module's own net the one after. `unlearn_seconds` is what the
    method costs without a cache: time that a cached importance pass spared is added.
    """

    victim: nn.Module
    before: dict[str, float]
    after: dict[str, float]
    report: Report
    unlearn_seconds: float
    evaluate_seconds: float


class Keep(L.Callback):
    """Stores the victim as soon as it is fitted; only then lets other jobs at the cache entry."""

    def __init__(self, entry: Entry) -> None:
        self.entry, self.began, self.seconds = entry, 0.0, 0.0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.began = time.perf_counter()

    def on_fit_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.seconds = time.perf_counter() - self.began
        self.check(pl_module.net, trainer.train_dataloader)
        self.entry.write(pl_module.net.state_dict(), self.seconds)
        self.entry.release()

    @torch.no_grad()
    def check(self, net: nn.Module, loader: Any) -> None:
        """One batch of answers: what the last step did is in no loss that was looked at."""
        x, _ = next(iter(loader))
        device = next(net.parameters()).device  # Lightning has moved the net to the CPU by now
        finite(net.eval()(x.to(device)), "what the fitted victim answers")


class Unlearning(L.Callback):
    """Discovers part of the poison, hands the split to `method`, measures before and after, logs.

    The discovery is drawn at setup, so that an impossible one is refused before the fit. `about` is
    what besides net, known rows and the method's own settings determines its importances; it goes
    into their cache key. `asked_by(parts)` names the settings behind them, for plans.
    """

    outcome: Outcome

    def __init__(
        self,
        method: Unlearner,
        discovery: Discover,
        data: Data,
        poison: Poison,
        cache: Cache,
        tracker: Tracker,
        about: dict[str, Any],
        asked_by: Callable[[dict[str, Any]], str],
        batch_size: int,
        seed: int,
    ) -> None:
        self.method, self.discovery, self.data, self.poison = method, discovery, data, poison
        self.cache, self.tracker, self.about, self.asked_by = cache, tracker, about, asked_by
        self.batch_size, self.seed = batch_size, seed
        self.known = self.unknown = torch.empty(0, dtype=torch.int64)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        rows = self.poison.indices
        wrong = self.poison.train.y[rows] != self.data.train.y[rows]
        self.known, self.unknown = self.discovery(rows, wrong)
        n = len(self.poison.train)
        require(
            len(self.known) == 0 or int(self.known.max()) < n,
            f"discovery names sample {self.known.max() if len(self.known) else 0} "
            f"but the ids go from 0 to {n - 1}",
        )
        require(
            len(self.known) < n,
            f"all {n} training samples are known poison; nothing would be retained",
        )
        # only a method that reads no split (unlearning=none) can do without known poison
        require(
            len(self.known) > 0 or not getattr(self.method, "needs_known", True),
            "the forget set is empty: there is no known poison to unlearn; "
            "use unlearning=none with poison=none, or name suspicious samples with discovery=ids "
            "discovery.ids=[3,17]",
        )
        check = getattr(self.method, "check", None)  # whether the method can take this net
        if check is not None:
            check(pl_module.net)

    def split(self, net: nn.Module) -> Split:
        """Known poison and the rest, with poisoned labels and trigger, as training saw them."""
        train = self.poison.train
        rest = torch.ones(len(train), dtype=torch.bool, device=train.y.device)
        rest[self.known] = False

        def loader(rows: Tensor) -> Loader:
            return Loader(
                train, rows, self.batch_size, augment=self.data.augment, view=self.poison.view
            )

        # these reach a method: they must not carry this callback, which knows the test data
        cache, asked_by = self.cache, self.asked_by
        about = {
            **self.about,
            "net": digest(*net.state_dict().values()),
            "known": digest(self.known),
        }

        def once(
            parts: dict[str, Any], work: Callable[[], dict[str, Tensor]]
        ) -> tuple[dict[str, Tensor], float]:
            used = modules_of(Loader, work, *parts.values(), *map(type, net.modules()))
            key = about | parts | {"code": code_version(*used)}
            return cache.fetch("importances", key, work, asked_by(parts))

        def record(parts: dict[str, Any]) -> tuple[Tries, Callable[[Tries], None]]:
            kinds = [base for part in parts.values() for base in getattr(part, "__mro__", [part])]
            used = modules_of(answers, Loader, *kinds, *map(type, net.modules()))
            ledger = Ledger(cache, about | parts | {"code": code_version(*used)}, asked_by(parts))
            return ledger.read(), ledger.add

        return Split(loader(self.known), loader(rest.nonzero().squeeze(1)), once, record)

    def on_fit_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        device = trainer.strategy.root_device
        pl_module.to(device)  # Lightning has moved it back to the CPU
        victim = copy.deepcopy(pl_module.net)
        before, seconds_before = self.measured(trainer, pl_module.net)
        split, patient = self.split(pl_module.net), Victim(pl_module.net, pl_module.fresh)
        with wall_clock(device) as elapsed, torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(derive(self.seed, "unlearning"))
            report = self.method.unlearn(patient, split)
        pl_module.net = patient.net
        for name, w in pl_module.net.state_dict().items():
            finite(w, f"the unlearned {name}")
        after, seconds_after = self.measured(trainer, pl_module.net)
        self.outcome = Outcome(
            victim=victim,
            before=before,
            after=after,
            report=report,
            unlearn_seconds=elapsed[0] + report.saved,
            evaluate_seconds=seconds_before + seconds_after,
        )
        self.record(self.outcome)

    def measured(self, trainer: L.Trainer, net: nn.Module) -> tuple[dict[str, float], float]:
        """All probes of a net, and the seconds that takes; a net that was seen before is looked up.

        A grid asks for each victim in every cell.
        """
        probes = self.poison.probes
        parts = {
            **self.about,
            "net": digest(*net.state_dict().values()),
            "precision": str(trainer.precision),
            "test": [digest(p.loader.samples.x, p.loader.samples.y) for p in probes.values()],
            "code": code_version(
                *modules_of(evaluate, answers, Loader, *(p.measure for p in probes.values())),
                *modules_of(*map(type, net.modules())),
            ),
        }

        def work() -> dict[str, Tensor]:
            with trainer.precision_plugin.forward_context():
                found = evaluate(net, probes)
            return {name: torch.tensor(value, dtype=torch.float64) for name, value in found.items()}

        began = time.perf_counter()
        found, saved = self.cache.fetch("measures", parts, work)
        seconds = time.perf_counter() - began + saved
        return {name: value.item() for name, value in found.items()}, seconds

    def record(self, outcome: Outcome) -> None:
        for when, values in (("before", outcome.before), ("after", outcome.after)):
            self.tracker.metrics({f"{when}/{name}": value for name, value in values.items()})
        self.tracker.series(
            [{f"unlearn/{k}": v for k, v in step.items()} for step in outcome.report.steps]
        )


@contextmanager
def wall_clock(device: torch.device) -> Iterator[list[float]]:
    """[seconds] once the block is left, with all work on the device done."""
    elapsed: list[float] = []
    began = time.perf_counter()
    yield elapsed
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elapsed.append(time.perf_counter() - began)
