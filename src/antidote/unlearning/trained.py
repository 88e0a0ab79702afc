"""Methods that train: what a step sees and what it does; the loop is Lightning's."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from antidote.answers import accuracy
from antidote.checks import finite, require
from antidote.core import Loader, Report, Split, Victim, derive, generator
from antidote.recipe import Recipe


class Trained(L.LightningModule):
    """Base of the trained methods.

    `recipe` is the method's own; `make_trainer(max_steps=, ...)` builds a Lightning Trainer like
    the victim's. `hold_out`: share of the retained data that is not trained on; the result is then
    the checkpoint with the best accuracy on it, w.r.t. its labels as stored (the defender knows no
    others), else the last iterate. No test data is ever looked at.
    """

    net: nn.Module

    def __init__(
        self, recipe: Recipe, make_trainer: Callable[..., L.Trainer], hold_out: float, seed: int
    ) -> None:
        super().__init__()
        require(
            0 <= hold_out < 1,
            f"hold_out={hold_out} is not a share in [0, 1); 0 keeps the last iterate",
        )
        self.recipe, self.make_trainer, self.seed = recipe, make_trainer, seed
        self.hold_out = hold_out
        self.history: list[dict[str, float]] = []
        self.seen = 0
        self.held: Loader | None = None
        self.best: tuple[float, dict[str, Tensor]] = (-1.0, {})

    @abstractmethod
    def batches(self, split: Split) -> Loader:
        """What a step sees."""

    def prepare(self, victim: Victim) -> nn.Module:
        """The net to start from, in the mode to train it in: the victim's own, edited in place."""
        return victim.net.train()

    def passes(self, split: Split) -> Iterable[Any]:
        """The batches that Lightning asks for epoch by epoch."""
        return self.shuffled(self.batches(split))

    def shuffled(self, loader: Loader, draw: str = "unlearn") -> Loader:
        """That loader as a training step wants it."""
        return loader.but(
            shuffle=True, batch_size=self.recipe.batch_size, seed=derive(self.seed, draw)
        )

    def length(self, split: Split) -> int:
        """Optimiser steps."""
        return self.recipe.total_steps(self.batches(split).count)

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Cross-entropy with the labels as stored."""
        x, y = batch
        return self.told(F.cross_entropy(self.net(x), y), len(y))

    def told(self, loss: Tensor, n: int, name: str = "loss") -> Tensor:
        """The loss, if it is finite, and written into the history as the mean of the pass."""
        finite(loss, f"{type(self).__name__}'s {name}")
        self.log(name, loss, on_step=False, on_epoch=True, batch_size=n)
        return loss

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.seen += len(batch[1])

    def on_train_epoch_end(self) -> None:
        step = {k: v.item() for k, v in self.trainer.callback_metrics.items()}
        if self.held is not None:
            step["held_out_accuracy"] = accuracy(self.net, self.held)
            if step["held_out_accuracy"] > self.best[0]:
                self.best = (step["held_out_accuracy"], copy.deepcopy(self.net.state_dict()))
        self.history.append(step)

    def configure_optimizers(self) -> Any:
        learned = [w for w in self.net.parameters() if w.requires_grad]
        return self.recipe.optimizers(learned, int(self.trainer.estimated_stepping_batches))

    def unlearn(self, victim: Victim, split: Split) -> Report:
        device = next(victim.net.parameters()).device
        self.net = self.prepare(victim)
        split = self.reserve(split)
        steps = self.length(split)
        # a pass has at least one step, so there are never too few epochs
        self.make_trainer(max_steps=steps, max_epochs=steps, logger=False).fit(
            self, self.passes(split)
        )
        if self.held is not None:
            self.net.load_state_dict(self.best[1])
        victim.net = self.net.to(device)
        return Report(steps=self.history, sample_gradients=self.seen)

    def reserve(self, split: Split) -> Split:
        """The split without the part that only chooses the checkpoint."""
        if self.hold_out == 0:
            return split
        rows = split.retain.rows
        n = math.ceil(self.hold_out * len(rows))
        coin = generator(self.seed, "hold out")
        order = torch.randperm(len(rows), generator=coin).to(rows.device)
        self.held = split.retain.but(rows=rows[order[:n]].sort().values, augment=None)
        return replace(split, retain=split.retain.but(rows=rows[order[n:]].sort().values))
