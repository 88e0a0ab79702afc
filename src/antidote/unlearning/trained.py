"""Methods that train: what a step sees and what it does; the loop is Lightning's."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import lightning as L
import torch.nn.functional as F
from torch import Tensor, nn

from antidote.core import Loader, Report, Split, Victim, derive, finite
from antidote.recipe import Recipe


class Trained(L.LightningModule):
    """Base of the trained methods.

    The result is the last iterate: nothing is selected on any held-out data. `recipe` is the
    method's own; `make_trainer(max_steps=, ...)` builds a Lightning Trainer like the victim's.
    """

    net: nn.Module

    def __init__(self, recipe: Recipe, make_trainer: Callable[..., L.Trainer], seed: int) -> None:
        super().__init__()
        self.recipe, self.make_trainer, self.seed = recipe, make_trainer, seed
        self.history: list[dict[str, float]] = []

    @abstractmethod
    def batches(self, split: Split) -> Loader:
        """What a step sees."""

    def prepare(self, victim: Victim) -> nn.Module:
        """The net to start from: the victim's own, edited in place."""
        return victim.net

    def length(self, split: Split) -> int:
        """Optimiser steps."""
        return self.recipe.total_steps(self.batches(split).count)

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Cross-entropy with the labels as stored."""
        x, y = batch
        loss = finite(F.cross_entropy(self.net(x), y), f"{type(self).__name__}'s loss")
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=len(y))
        return loss

    def on_train_epoch_end(self) -> None:
        self.history.append({k: v.item() for k, v in self.trainer.callback_metrics.items()})

    def configure_optimizers(self) -> Any:
        return self.recipe.optimizers(
            self.net.parameters(), int(self.trainer.estimated_stepping_batches)
        )

    def unlearn(self, victim: Victim, split: Split) -> Report:
        device = next(victim.net.parameters()).device
        self.net = self.prepare(victim).train()
        loader = self.batches(split).but(
            shuffle=True, batch_size=self.recipe.batch_size, seed=derive(self.seed, "unlearn")
        )
        steps = self.length(split)
        trainer = self.make_trainer(
            max_steps=steps, max_epochs=math.ceil(steps / len(loader)), logger=False
        )
        trainer.fit(self, loader)
        victim.net = self.net.to(device)
        return Report(steps=self.history, sample_gradients=self.seen(trainer.global_step, loader))

    def seen(self, steps: int, loader: Loader) -> int:
        """Samples passed forward and backward in that many steps.

        The last partial batches are counted as they are.
        """
        passes, rest = divmod(steps, len(loader))
        return passes * loader.count + min(rest * loader.batch_size, loader.count)
