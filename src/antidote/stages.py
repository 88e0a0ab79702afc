"""The stages of one run: data, poison, victim, unlearning, and what they leave behind."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from antidote import labels
from antidote.cache import Cache, code_version, digest, modules_of
from antidote.callback import Keep, Unlearning
from antidote.checks import require
from antidote.config import build, content, identity, log_file, plain, threads_of
from antidote.core import Data, Loader, Poison, derive, everything
from antidote.disk import write
from antidote.evaluation import score
from antidote.memory import keep_freed_memory
from antidote.model.classifier import Classifier
from antidote.recipe import Recipe
from antidote.report import files
from antidote.report.table import show_result
from antidote.tracking import Tracker

log = logging.getLogger(__name__)


class Run:
    """The stages of one run; all parts are built first, to refuse bad settings before any work."""

    def __init__(self, cfg: DictConfig, out: Path, tracker: Tracker, logger: Logger | None) -> None:
        self.cfg, self.out, self.tracker, self.logger = cfg, out, tracker, logger
        self.plain, self.content = plain(cfg), content(cfg)
        require(isinstance(cfg.seed, int), f"seed={cfg.seed} is not a whole number")
        threads = threads_of(cfg)
        require(
            threads in range(1, 4097),
            f"threads={threads} is not a number of threads; give 1 or more, or null for all cores",
        )
        keep_freed_memory()
        torch.set_num_threads(threads)
        self.cache = Cache(Path(cfg.output) / "cache", cfg.cache)
        self.make_trainer: Callable[..., L.Trainer] = build(cfg, "trainer")
        trainer = self.make_trainer(max_steps=0, logger=False)
        self.device, self.precision = trainer.strategy.root_device, str(trainer.precision)
        self.method = build(cfg, "unlearning")
        self.discovery = build(cfg, "discovery")
        self.attack = build(cfg, "poison")
        self.recipe: Recipe = build(cfg, "recipe")
        self.recipe.check()
        self.make_victim: Callable[..., Classifier] = build(cfg, "model")
        self.fit_seconds: float | None = None
        self.cached: list[str] = []

    def result(self) -> dict[str, Any]:
        """Everything, in order; the result is also on disk and in MLflow when it is returned."""
        data: Data = build(self.cfg, "dataset").to(self.device)
        log.info(
            "%d training and %d test samples of %d classes",
            len(data.train),
            len(data.test),
            data.num_classes,
        )
        clean = Poison(data.train, torch.empty(0, dtype=torch.int64, device=self.device), {})
        poison = self.attack.poison(data, lambda: self.victim(data, clean, []).net)
        unlearning = Unlearning(
            self.method,
            self.discovery,
            data,
            poison,
            self.cache,
            self.tracker,
            self.about(data, poison),
            partial(labels.unlearning, self.content, torch.get_num_threads()),
            self.recipe.batch_size,
            self.cfg.seed,
        )
        victim = self.victim(data, poison, [unlearning])
        result = self.summary(data, poison, unlearning)
        self.leave(result, data, poison, victim, unlearning)
        show_result(
            result, self.out, self.plain["logger"].get("tracking_uri"), self.tracker.address
        )
        return result

    def about(self, data: Data, poison: Poison) -> dict[str, Any]:
        """What, besides net and method, determines a stage's result."""
        return {
            "train": digest(poison.train.x, poison.train.y, data.mean, data.std),
            "poison": self.plain["poison"],
            "augment": self.plain["dataset"]["augment"],
            "attack and augment": code_version(*modules_of(self.attack, data.augment)),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "device": str(self.device),
        }

    def victim(self, data: Data, poison: Poison, callbacks: list[L.Callback]) -> Classifier:
        """The classifier fitted on `poison`, or restored; either way callbacks see a fit end."""
        victim = self.make_victim(recipe=self.recipe, data=data)
        fit = {"augment": data.augment, "view": poison.view, "seed": derive(self.cfg.seed, "fit")}
        loader = everything(poison.train, batch_size=self.recipe.batch_size, shuffle=True, **fit)
        trained_by = {name: self.plain[name] for name in ("model", "recipe", "seed")} | {
            "precision": self.precision
        }
        code = code_version(
            *modules_of(Loader, Recipe, Classifier, *map(type, victim.net.modules()))
        )
        key = {**self.about(data, poison), **trained_by, "code": code}
        # only an attack asks for a net that nobody looks at
        label = labels.victim(self.content, torch.get_num_threads(), clean=not callbacks)
        with self.cache.entry("victims", key, label) as entry:
            found = None if self.cfg.victim else entry.read()
            if self.cfg.victim:
                victim.restore(self.cfg.victim)
            elif found is not None:
                victim.net.load_state_dict(found[0])
                self.fit_seconds = found[1]
                self.cached.append("fit")
            if self.cfg.victim or found is not None:
                log.info("victim restored from %s", self.cfg.victim or entry.path)
                entry.release()
                self.fit(victim, loader, callbacks, steps=0)
            else:
                keep = Keep(entry)  # comes first: the victim is kept before it is edited
                self.fit(
                    victim, loader, [keep, *callbacks], steps=self.recipe.total_steps(loader.count)
                )
                self.fit_seconds = keep.seconds
        return victim

    def fit(
        self, victim: Classifier, loader: Loader, callbacks: list[L.Callback], steps: int
    ) -> None:
        """Lightning's fit; with no steps it goes straight to the callbacks' on_fit_end."""
        if steps:
            log.info("fitting the victim: %d steps of %d samples", steps, loader.batch_size)
        epochs = math.ceil(steps / len(loader))
        logger = self.logger or False
        self.make_trainer(
            max_steps=steps, max_epochs=epochs, callbacks=callbacks, logger=logger
        ).fit(victim, loader)

    def summary(self, data: Data, poison: Poison, unlearning: Unlearning) -> dict[str, Any]:
        """result.json, as docs/results.md explains it."""
        done = unlearning.outcome
        before, after = done.before, done.after
        scored = score(before, after, poison.scores)
        cached = [*self.cached, "unlearn"] if done.report.saved else self.cached
        return {
            **identity(self.cfg),
            "poison_rate": len(poison.indices) / len(data.train),
            "n_poisoned": len(poison.indices),
            "n_known": len(unlearning.known),
            "before": before,
            "after": after,
            **scored,
            "objective": (scored["healed"] or 0.0) - (scored["accuracy_drop"] or 0.0),
            "seconds": {
                "fit": self.fit_seconds,
                "unlearn": done.unlearn_seconds,
                "evaluate": done.evaluate_seconds,
            },
            "cached": cached,
            "sample_gradients": done.report.sample_gradients,
            "search": done.report.search,
            "steps": done.report.steps,
            "status": "ok",
        }

    def leave(
        self,
        result: dict[str, Any],
        data: Data,
        poison: Poison,
        victim: Classifier,
        unlearning: Unlearning,
    ) -> None:
        """All files, on disk and in MLflow; result.json is last, so it stands for a whole run."""
        done, out = unlearning.outcome, self.out
        made = [write(out / "config.yaml", OmegaConf.to_yaml(self.cfg, resolve=True))]
        made.append(
            files.poison_ids(out / "poison.npz", data, poison, unlearning.known, unlearning.unknown)
        )
        nets = (done.victim, victim.net)
        if self.cfg.save_models:
            names = ("victim", "unlearned")
            made += [
                files.model(out / f"{name}.safetensors", net)
                for name, net in zip(names, nets, strict=True)
            ]
        if self.cfg.pictures:
            made += files.pictures(out, data, poison, nets, (done.before, done.after), done.report)
        made.append(write(out / "result.json", json.dumps(result, indent=1)))
        for path in [*made, log_file(out)]:
            self.tracker.file(path)
        self.tracker.result(result)
        self.tracker.close("FINISHED")
