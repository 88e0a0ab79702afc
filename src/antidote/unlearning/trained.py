"""Methods that train: what a step sees and what it costs; the loop is Lightning's."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from antidote.core import (
    History,
    Loader,
    Method,
    Split,
    Victim,
    Watch,
    Work,
    accuracy,
    derive,
    generator,
    require,
)
from antidote.recipe import Recipe
from antidote.unlearning.modes import alone, frozen, relearning


def check_hold_out(share: float) -> None:
    require(0 <= share < 1, f"hold_out={share} is not a share in [0, 1); 0 keeps the last iterate")


class Trained(Method):
    """Base of the trained methods: a loss, and the batches it is taken on.

    `recipe` is the method's own; `make_trainer(max_steps=, ...)` builds a Lightning Trainer like
    the victim's. `hold_out`: share of the retained data that is not trained on; the result is then
    the checkpoint with the best accuracy on it, w.r.t. its labels as stored (the defender knows no
    others), else the last iterate. No test data is ever looked at.
    """

    gentler = "a lower learning rate or fewer steps change less"

    def __init__(
        self, recipe: Recipe, make_trainer: Callable[..., L.Trainer], hold_out: float, seed: int
    ) -> None:
        check_hold_out(hold_out)
        self.recipe, self.make_trainer, self.seed = recipe, make_trainer, seed
        self.hold_out = hold_out

    @abstractmethod
    def batches(self, split: Split) -> Loader:
        """What a step sees."""

    def start(self, victim: Victim) -> nn.Module:
        """The net to start from, in the mode to train it in: the victim's own, edited in place.

        Weights that it freezes learn again after the fit.
        """
        return victim.net.train()

    def teachers(self, victim: Victim) -> Sequence[nn.Module]:
        """Nets, as they are before `start`, whose frozen copies in evaluation mode `loss` gets."""
        return ()

    def loss(self, net: nn.Module, batch: Any, *teachers: nn.Module) -> Tensor:
        """What a step descends: cross-entropy with the labels as stored."""
        x, y = batch
        return F.cross_entropy(net(x), y)

    def called(self, batch: Any) -> str:
        """The name in the history of the loss on that batch."""
        return "loss"

    def closing(self, steps: Mapping[str, int]) -> Sequence[Mapping[str, float]]:
        """What the history says last, of the number of steps by the name of their loss."""
        return ()

    def passes(self, split: Split) -> Iterable[Any]:
        """The batches that Lightning asks for epoch by epoch."""
        return self.shuffled(self.batches(split))

    def shuffled(self, loader: Loader, draw: str = "unlearn") -> Loader:
        """That loader as a training step wants it."""
        size, seed = self.recipe.batch_size, derive(self.seed, draw)
        return loader.with_(shuffle=True, batch_size=size, seed=seed, join=True)

    def length(self, split: Split) -> int:
        """Optimiser steps."""
        return self.recipe.total_steps(self.batches(split).count)

    def course(self, split: Split) -> tuple[int, Iterable[Any]]:
        """(optimiser steps, the batches of each epoch)."""
        return self.length(split), self.passes(split)

    def horizon(self, split: Split, steps: int) -> int:
        """Steps that the schedule is laid out for, where so many are taken."""
        return steps

    def size(self, batch: Any) -> int:
        """Samples that a step on that batch passes forward and backward."""
        return len(batch[1])

    def before_step(self, net: nn.Module, step: int) -> None:
        """May change the gradients that the optimiser is about to take."""

    def check(self, net: nn.Module) -> None:
        self.recipe.check()

    def title(self) -> str:
        """What a plan calls such trainings."""
        return f"other trainings, {type(self).__name__}"

    def work(self) -> Iterable[Work]:
        # how the Trainer is made is the run's setting, not the method's
        settings = {name: value for name, value in vars(self).items() if name != "make_trainer"}
        what = {"method": type(self), **settings}
        yield Work("training", what, self.title(), self.gradients)

    def gradients(self, n: int) -> float:
        """About how many sample gradients it takes where n rows are trained on."""
        return self.recipe.sample_gradients(n)

    def unlearn(self, victim: Victim, split: Split) -> History:
        device = next(victim.net.parameters()).device
        split, held = self.reserve(split)
        steps, passes = self.course(split)
        # a pass has at least one step, so there are never too few epochs
        trainer = self.make_trainer(max_steps=steps, max_epochs=steps, logger=False)
        home = trainer.strategy.root_device
        teachers = [frozen(net).to(home) for net in self.teachers(victim)]
        # the Trainer sets the precision; around its steps there is none but float32
        with relearning(victim.net), torch.autocast(home.type, enabled=False):
            fit = _Fit(self, self.start(victim), teachers, held, self.horizon(split, steps))
            trainer.fit(fit, passes)
        victim.net = fit.net.to(device)
        return History([*fit.epochs, *self.closing(fit.steps)], sample_gradients=fit.seen)

    def reserve(self, split: Split) -> tuple[Split, Loader | None]:
        """The split without the part that only chooses the checkpoint, and that part, plain."""
        if self.hold_out == 0:
            return split, None
        rows = split.retain.rows
        n = math.ceil(self.hold_out * len(rows))
        coin = generator(self.seed, "hold out")
        order = torch.randperm(len(rows), generator=coin).to(rows.device)
        held = split.retain.with_(rows=rows[order[:n]].sort().values, augment=None)
        rest = split.retain.with_(rows=rows[order[n:]].sort().values)
        return replace(split, retain=rest), held


class _Fit(L.LightningModule):
    """What one call of a trained method needs and leaves."""

    net: nn.Module

    def __init__(
        self,
        method: Trained,
        net: nn.Module,
        teachers: list[nn.Module],
        held: Loader | None,
        horizon: int,
    ) -> None:
        super().__init__()
        self.method, self.net, self.held, self.horizon = method, net, held, horizon
        self.teachers = teachers  # a list, so that they are no part of what is trained
        self.epochs: list[dict[str, float]] = []
        self.steps: Counter[str] = Counter()
        self.seen, self.watch = 0, Watch()
        self.best: tuple[float, dict[str, Tensor]] = (-1.0, {})

    def training_step(self, batch: Any) -> Tensor:
        name, n = self.method.called(batch), self.method.size(batch)
        with alone(self.net) if n == 1 else nullcontext():
            loss = self.method.loss(self.net, batch, *self.teachers)
        self.watch(loss, f"{type(self.method).__name__}'s {name}")
        self.log(name, loss, on_step=False, on_epoch=True, batch_size=n)
        self.steps[name] += 1
        self.seen += n
        return loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.method.before_step(self.net, self.global_step)

    def on_train_epoch_end(self) -> None:
        step = {k: v.item() for k, v in self.trainer.callback_metrics.items()}
        if self.held is not None:
            with self.trainer.precision_plugin.forward_context():
                step["held_out_accuracy"] = accuracy(self.net, self.held)
            if step["held_out_accuracy"] > self.best[0]:
                self.best = (step["held_out_accuracy"], copy.deepcopy(self.net.state_dict()))
        self.epochs.append(step)

    def on_train_end(self) -> None:
        self.watch.close()
        if self.held is not None:
            self.net.load_state_dict(self.best[1])

    def configure_optimizers(self) -> Any:
        learned = [w for w in self.net.parameters() if w.requires_grad]
        return self.method.recipe.optimizers(learned, self.horizon)
