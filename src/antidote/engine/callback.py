"""Where Lightning's fit ends: the victim is kept, then unlearned."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import nn

from antidote.core import (
    History,
    Meter,
    Method,
    Split,
    Traced,
    Tracer,
    Victim,
    accuracy,
    derive,
    finite,
    require,
)
from antidote.engine import stages
from antidote.progress import at

log = logging.getLogger(__name__)


class KeepVictim(L.Callback):
    """Keeps each epoch's figures, and hands the fitted victim to `keep(net, seconds, epochs)`."""

    def __init__(
        self,
        keep: Callable[[nn.Module, float, list[dict[str, float]]], None],
        tell: Callable[[Mapping[str, float], int], None],
    ) -> None:
        self.keep, self.tell, self.began = keep, tell, 0.0
        self.epochs: list[dict[str, float]] = []

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.began = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.epochs.append({name: v.item() for name, v in trainer.callback_metrics.items()})
        self.tell(self.epochs[-1], len(self.epochs) - 1)

    def on_fit_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        seconds = time.perf_counter() - self.began
        self.check(pl_module.net, trainer.train_dataloader)
        self.keep(pl_module.net, seconds, self.epochs)

    @torch.no_grad()
    def check(self, net: nn.Module, loader: Any) -> None:
        """One batch of answers: what the last step did is in no loss that was looked at."""
        x, _ = next(iter(loader))
        device = next(net.parameters()).device  # Lightning has moved the net to the CPU by now
        finite(net.eval()(x.to(device)), "what the fitted victim answers")


@dataclass(frozen=True)
class Outcome:
    """The net before and after, what was measured on both, and what it took; wall seconds.

    `believed`: the share of the known samples, before and after, that get the labels they were
    stored with; None where none are known. `unlearn_seconds` is what the method costs without a
    memo, whose spared time is added, and without trials, which are `tune_seconds`; so with
    `trace_seconds`, and with `forwards`, the passes without a gradient of tracer and method.
    """

    victim: nn.Module
    unlearned: nn.Module
    believed: tuple[float | None, float | None]
    before: dict[str, float]
    after: dict[str, float]
    traced: Traced
    history: History
    forwards: int
    trace_seconds: float
    trace_saved: float
    unlearn_seconds: float
    tune_seconds: float
    evaluate_seconds: float


Measured = Callable[[L.Trainer, nn.Module], tuple[dict[str, float], float]]
Doubts = Callable[[Mapping[str, float], float | None], Iterable[str]]


class Unlearning(L.Callback):
    """Hands the split to `tracer`, and with what that finds to `method`; `called` are their names.

    `origin`: the fingerprint of the split that the method gets. `measured(trainer, net)` gives
    (figures, seconds); `doubts`, of the victim's figures and the share of the known samples that it
    believes, what is said before anything is unlearned.
    """

    outcome: Outcome

    def __init__(
        self,
        tracer: Tracer,
        method: Method,
        split: Split,
        origin: str,
        measured: Measured,
        seed: int,
        called: tuple[str, str],
        doubts: Doubts,
    ) -> None:
        self.tracer, self.method, self.split, self.origin = tracer, method, split, origin
        self.measured, self.seed, self.called, self.doubts = measured, seed, called, doubts

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        self.tracer.check(pl_module.net)
        self.method.check(pl_module.net)
        self.method.afford(self.split)

    def on_fit_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        device = trainer.strategy.root_device
        pl_module.to(device)  # Lightning has moved it back to the CPU
        pl_module.net.eval()  # a restored net comes in another mode than a fitted one
        before, victim = self.measured(trainer, pl_module.net), copy.deepcopy(pl_module.net)
        precision = trainer.precision_plugin.forward_context
        believed = self.believed(victim, precision)
        for doubt in self.doubts(before[0], believed):
            log.warning("%s", doubt)
        meter = Meter()
        patient = Victim(
            meter.watch(pl_module.net), lambda: meter.watch(pl_module.fresh()), precision, meter
        )
        doing = f"tracing by {self.called[0]}", f"unlearning with {self.called[1]}"
        with wall_clock(device) as tracing, self.draws("tracing"), at(doing[0]):
            traced, spared = stages.trace(self.tracer, patient, self.split)
        split = stages.extended(self.split, traced.rows, self.origin)
        require(
            split.forget.count > 0 or not self.method.needs_known,
            "no poison is known and none was traced, so there is nothing to unlearn; name "
            "suspicious samples with discovery=ids discovery.ids=[3,17]",
        )
        self.method.afford(split)
        log.info("%s, %d samples known", doing[1], split.forget.count)
        with wall_clock(device) as elapsed, self.draws("unlearning"), at(doing[1]):
            history = self.method.unlearn(patient, split)
        tuning = (history.chosen or {}).get("seconds", 0.0)
        forwards = traced.forwards + history.spared + meter.count.forwards
        meter.leave(patient.net)
        pl_module.net = patient.net
        for name, w in pl_module.net.state_dict().items():
            finite(w, f"the unlearned {name}")
        after = self.measured(trainer, pl_module.net)
        self.outcome = Outcome(
            victim=victim,
            unlearned=pl_module.net,
            believed=(believed, self.believed(pl_module.net, precision)),
            before=before[0],
            after=after[0],
            traced=traced,
            history=history,
            forwards=forwards,
            trace_seconds=tracing[0] + spared,
            trace_saved=spared,
            unlearn_seconds=elapsed[0] + history.saved - tuning,
            tune_seconds=tuning,
            evaluate_seconds=before[1] + after[1],
        )

    def believed(self, net: nn.Module, precision: Callable[[], Any]) -> float | None:
        """The share of the known samples that a net gives the labels they were stored with."""
        if self.split.forget.count == 0:
            return None
        with precision():
            return accuracy(net, self.split.forget.with_(augment=None))

    @contextmanager
    def draws(self, stage: str) -> Iterator[None]:
        """What a stage draws has a seed of its own, and disturbs nobody else's."""
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(derive(self.seed, stage))
            yield


@contextmanager
def wall_clock(device: torch.device) -> Iterator[list[float]]:
    """[seconds] once the block is left, with all work on the device done."""
    elapsed: list[float] = []
    began = time.perf_counter()
    yield elapsed
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elapsed.append(time.perf_counter() - began)
