"""What a cell is made of, all built before any work, so that bad settings are refused first."""

from __future__ import annotations

import functools
import logging
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from antidote.core import Attack, Data, Method, Poison, Surrogate, Tracer, derive
from antidote.core.data import digest, fingerprint
from antidote.engine import stages
from antidote.engine.callback import Measured
from antidote.engine.cell import Cell
from antidote.engine.code import code, targets
from antidote.engine.memo import Remembered
from antidote.engine.memory import keep_freed_memory
from antidote.engine.store import Store
from antidote.engine.tracking import Tracker
from antidote.engine.victim import Training
from antidote.metrics.score import Untouched
from antidote.model.classifier import Classifier
from antidote.progress import at
from antidote.recipe import Recipe

log = logging.getLogger(__name__)


class Parts:
    """`where`: what a result's bits depend on besides code, data and settings."""

    def __init__(self, cell: Cell) -> None:
        quiet()
        told_of_old(cell.output)
        keep_freed_memory()
        torch.set_num_threads(cell.threads)
        self.cell = cell
        self.tracker: Tracker = cell.build("logger")
        self.store = Store(cell.settings["store"], cell.settings["cache"])
        self.make_trainer: Callable[..., L.Trainer] = cell.build("trainer")
        trainer = self.make_trainer(max_steps=0, logger=False)
        self.device, self.where = trainer.strategy.root_device, stages.hardware(trainer)
        self.tracer: Tracer = cell.build("tracing")
        self.method: Method = cell.build("unlearning")
        self.discovery: stages.Discover = cell.build("discovery")
        self.attack: Attack = cell.build("poison")
        self.recipe: Recipe = cell.build("recipe")
        self.recipe.check()
        self.make_victim: Callable[..., Classifier] = cell.build("model")
        self.scale = cell.scale(self.where)

    @property
    def net(self) -> list[object]:
        """What the bits of anything computed with the cell's net depend on."""
        return [code(targets(self.cell.content["model"])), self.where]

    def memo(self) -> Remembered:
        return Remembered(self.store, self.net, scale=self.scale)

    def victim(self, data: Data) -> Classifier:
        """Untrained, or with weights from a file."""
        module, path = self.make_victim(recipe=self.recipe, data=data), self.cell.settings["victim"]
        if path:
            module.restore(Path(path).expanduser())
        return module

    def training(self, module: Classifier, key: str, samples: int, **how: Any) -> Training:
        steps, scale = self.recipe.total_steps(samples), self.scale
        return Training(module, self.store, fingerprint(key, self.where), steps, scale=scale, **how)

    def restored(self, data: Data, path: Path) -> nn.Module:
        """A net of the cell's kind with the weights of a file."""
        module = self.make_victim(recipe=self.recipe, data=data)
        module.restore(path)
        return module.net

    def surrogate(self, data: Data, found: str) -> Surrogate:
        """A net fitted on the data without poison, for attacks that ask."""
        seed = derive(self.cell.seed, "surrogate")

        def train() -> nn.Module:
            nobody = torch.empty(0, dtype=torch.int64, device=data.train.y.device)
            clean = Poison(data.train, data.train.y, nobody, {}, Untouched("test/accuracy"))
            module = self.make_victim(recipe=self.recipe, data=data, seed=seed)
            self.attack.check_net(module.net)
            loader = stages.training(data, clean, self.recipe.batch_size, seed)
            key = self.cell.surrogate(found)
            with at("surrogate"), self.training(module, key, loader.count) as training:
                fit = (self.make_trainer, module, loader, training.callbacks, training.steps)
                stages.fit(*fit, seed)
            return module.net.to(self.device).eval()

        return Surrogate(train, self.memo())

    def ceiling(self, data: Data, poison: Poison, found: str) -> dict[str, float] | None:
        """What is measured on a net that never saw the poison, if it is asked for."""
        if not self.cell.settings["ceiling"]:
            return None
        module = self.make_victim(recipe=self.recipe, data=data)
        loader = stages.training(data, poison, self.recipe.batch_size, self.cell.seed)
        loader = stages.unpoisoned(loader, poison)
        key = self.cell.ceiling(found)
        with at("net without poison"), self.training(module, key, loader.count) as training:
            fit = (self.make_trainer, module, loader, training.callbacks, training.steps)
            trainer = stages.fit(*fit, self.cell.seed)
        net = module.net.to(self.device).eval()
        return self.measured(poison, found)(trainer, net)[0]

    def measured(self, poison: Poison, found: str) -> Measured:
        """Measures all probes of a net; a net that was seen before is looked up.

        A grid asks for each victim in every cell.
        """
        store, of = self.store, [self.cell.poisoned(found), *self.net]

        def measured(trainer: L.Trainer, net: nn.Module) -> tuple[dict[str, float], float]:
            def work() -> dict[str, Tensor]:
                with trainer.precision_plugin.forward_context():
                    figures = stages.measure(net, poison.probes)
                return {n: torch.tensor(v, dtype=torch.float64) for n, v in figures.items()}

            began = time.perf_counter()
            key = fingerprint("measures", of, digest(*net.state_dict().values()))
            figures, saved = store.fetch("measures", key, work, scale=self.scale)
            seconds = time.perf_counter() - began + saved
            return {name: value.item() for name, value in figures.items()}, seconds

        return measured


@functools.cache
def told_of_old(output: Path) -> None:
    """One line where an earlier version has left what this one does not read."""
    found = [str(output / name) for name in ("cache", "cells") if (output / name).is_dir()]
    if found:
        log.info("%s: of an earlier version, not read; may be deleted", " and ".join(found))


def quiet() -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # deprecations inside Lightning, hints about workers
    warnings.filterwarnings("ignore", module="lightning")


def models_of(folder: Path) -> list[Path]:
    """Where a run's nets, before and after, lie."""
    return [folder / f"{name}.safetensors" for name in ("victim", "unlearned")]
