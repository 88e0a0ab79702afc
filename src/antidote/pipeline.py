"""One run from its config: data, poison, victim, unlearning, and what it leaves behind."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from safetensors.torch import save as to_safetensors
from torch import nn

from antidote import recipe as recipes
from antidote.cache import Cache, Entry, code_version, digest, modules_of
from antidote.callback import Unlearning
from antidote.core import BadInput, Data, Loader, Poison, derive
from antidote.evaluation import healed
from antidote.model.classifier import Classifier
from antidote.report import figures
from antidote.report.table import result_table
from antidote.tracking import Tracker, ensure_store

log = logging.getLogger(__name__)
# what changes where or how fast a run happens, but not what it finds
ELSEWHERE = ("output", "logger", "cache", "threads", "progress", "save_models")


def main(cfg: DictConfig) -> float:
    """Runs `cfg` and returns the objective, healed - accuracy_drop; what happens on failure depends on the mode.

    A failed job leaves result.json and traceback.txt and a FAILED run in MLflow. In a sweep it then returns NaN, so
    that the others go on; alone, bad input ends in one sentence and anything else is raised.
    """
    out = Path(HydraConfig.get().runtime.output_dir)
    tracker = Tracker(None)
    try:
        tracker, logger = start_logging(cfg)
        return Run(cfg, out, tracker, logger).result()["objective"]
    except (Exception, SystemExit) as error:
        sentence = fail(error, cfg, out, tracker)
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            log.error("failed: %s", sentence)
            return math.nan
        if bad_input(error):
            raise SystemExit(f"error: {sentence}") from None
        raise


def bad_input(error: BaseException | None) -> BadInput | None:
    """The `BadInput` behind an error: Hydra wraps what a constructor raises."""
    while error is not None and not isinstance(error, BadInput):
        error = error.__cause__
    return error


def fail(error: BaseException, cfg: DictConfig, out: Path, tracker: Tracker) -> str:
    sentence = str(bad_input(error) or f"{type(error).__name__}: {error}").strip()
    (out / "traceback.txt").write_text("".join(traceback.format_exception(error)))
    write(out / "result.json", json.dumps({**identity(cfg), "status": "failed", "error": sentence}, indent=1).encode())
    tracker.tag("error", sentence[:5000])
    for name in ("traceback.txt", "result.json"):
        tracker.file(out / name)
    tracker.close("FAILED")
    return sentence


def start_logging(cfg: DictConfig) -> tuple[Tracker, Logger | None]:
    for noisy in ("lightning.pytorch", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")  # deprecations inside Lightning, hints about workers
    prepare_store(cfg)
    logger = instantiate(cfg.logger) or None  # an empty group option is no logger
    tracker = Tracker(logger)
    tracker.parameters(plain(cfg))
    return tracker, logger


def prepare_store(cfg: DictConfig) -> None:
    """Creates MLflow's database before anybody writes to it."""
    if cfg.logger:
        ensure_store(cfg.logger.tracking_uri, cfg.logger.experiment_name, cfg.logger.get("artifact_location"))


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The whole resolved config as dicts."""
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def identity(cfg: DictConfig) -> dict[str, Any]:
    """What a result is a result of: the hash of the config without `ELSEWHERE`, and the names on the command line."""
    content = {k: v for k, v in plain(cfg).items() if k not in ELSEWHERE}
    text = json.dumps(content, sort_keys=True)
    choices = HydraConfig.get().runtime.choices
    names = {group: choices[group] for group in ("dataset", "model", "poison", "unlearning")}
    return {"config_hash": hashlib.sha256(text.encode()).hexdigest()[:16], "seed": cfg.seed, **names}


def write(path: Path, content: bytes) -> Path:
    """Whole or not at all."""
    half = path.with_name(path.name + ".half")
    half.write_bytes(content)
    os.replace(half, path)
    return path


class Keep(L.Callback):
    """Stores the victim as soon as it is fitted, and only then lets other jobs at the cache entry."""

    def __init__(self, entry: Entry) -> None:
        self.entry, self.began, self.seconds = entry, 0.0, 0.0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.began = time.perf_counter()

    def on_fit_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.seconds = time.perf_counter() - self.began
        self.entry.write(pl_module.net.state_dict(), self.seconds)
        self.entry.release()


class Run:
    """The stages of one run; each is done when it is asked for."""

    def __init__(self, cfg: DictConfig, out: Path, tracker: Tracker, logger: Logger | None) -> None:
        self.cfg, self.out, self.tracker, self.logger = cfg, out, tracker, logger
        self.plain = plain(cfg)
        torch.set_num_threads(cfg.threads or os.cpu_count() or 1)
        self.cache = Cache(Path(cfg.output) / "cache", cfg.cache)
        self.make_trainer: Callable[..., L.Trainer] = instantiate(cfg.trainer)
        self.method = instantiate(cfg.unlearning)
        self.discovery = instantiate(cfg.discovery)
        self.attack = instantiate(cfg.poison)
        self.recipe: recipes.Recipe = instantiate(cfg.recipe)
        self.fit_seconds: float | None = None
        self.cached: list[str] = []

    def result(self) -> dict[str, Any]:
        """Everything, in order; also written to disk and to MLflow."""
        device = self.make_trainer(max_steps=0, logger=False).strategy.root_device
        data: Data = instantiate(self.cfg.dataset).to(device)
        log.info("%d training and %d test samples of %d classes", len(data.train), len(data.test), data.num_classes)
        clean = Poison(data.train, torch.empty(0, dtype=torch.int64, device=device), {})
        poison = self.attack.poison(data, lambda: self.victim(data, clean, []).net)
        about = self.about(data, poison)
        unlearning = Unlearning(
            self.method, self.discovery, data, poison, self.cache, self.tracker, about, self.recipe.batch_size, self.cfg.seed
        )
        victim = self.victim(data, poison, [unlearning])
        return self.leave(data, poison, victim, unlearning)

    def about(self, data: Data, poison: Poison) -> dict[str, Any]:
        """What, besides net and method, determines a stage's result."""
        return {
            "train": digest(poison.train.x, poison.train.y, data.mean, data.std),
            "view": self.plain["poison"] if poison.view else None,
            "augment": self.plain["dataset"]["augment"],
            "view code": code_version(*modules_of(self.attack, data.augment)),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "device": str(data.train.y.device),
        }

    def victim(self, data: Data, poison: Poison, callbacks: list[L.Callback]) -> Classifier:
        """The classifier fitted on `poison`, or restored; either way the callbacks see the end of a fit."""
        victim: Classifier = instantiate(self.cfg.model)(recipe=self.recipe, data=data)
        loader = Loader(
            poison.train,
            torch.arange(len(poison.train), device=poison.train.y.device),
            self.recipe.batch_size,
            shuffle=True,
            augment=data.augment,
            view=poison.view,
            seed=derive(self.cfg.seed, "fit"),
        )
        steps = self.recipe.total_steps(loader.count)
        trained_by = {name: self.plain[name] for name in ("model", "recipe", "trainer", "seed")}
        code = code_version(*modules_of(Loader, recipes.Recipe, Classifier, *map(type, victim.net.modules())))
        parts = {**self.about(data, poison), **trained_by, "code": code}
        with self.cache.entry("victims", parts) as entry:
            found = None if self.cfg.victim else entry.read()
            if self.cfg.victim:
                victim.restore(self.cfg.victim)
                log.info("victim taken from %s", self.cfg.victim)
            elif found is not None:
                victim.net.load_state_dict(found[0])
                self.fit_seconds = found[1]
                self.cached.append("fit")
                log.info("victim restored from %s", entry.path)
            if self.cfg.victim or found is not None:
                entry.release()
                self.trainer(callbacks, 0, loader).fit(victim, loader)
            else:
                log.info("fitting the victim: %d steps of %d samples", steps, loader.batch_size)
                keep = Keep(entry)
                # order matters: the victim is kept before it is edited
                self.trainer([keep, *callbacks], steps, loader).fit(victim, loader)
                self.fit_seconds = keep.seconds
        return victim

    def trainer(self, callbacks: list[L.Callback], steps: int, loader: Loader) -> L.Trainer:
        epochs = math.ceil(steps / len(loader))
        return self.make_trainer(max_steps=steps, max_epochs=epochs, callbacks=callbacks, logger=self.logger or False)

    def leave(self, data: Data, poison: Poison, victim: Classifier, unlearning: Unlearning) -> dict[str, Any]:
        """result.json, models, poison ids, config and pictures; on disk and in MLflow."""
        result = self.summary(data, poison, unlearning)
        files = [write(self.out / "config.yaml", OmegaConf.to_yaml(self.cfg, resolve=True).encode())]
        if self.cfg.save_models:
            for name, net in (("victim", unlearning.outcome.victim), ("unlearned", victim.net)):
                state = {k: t.detach().cpu().contiguous() for k, t in net.state_dict().items()}
                files.append(write(self.out / f"{name}.safetensors", to_safetensors(state)))
        files.append(self.poison_file(data, poison, unlearning))
        files += self.pictures(data, poison, victim.net, unlearning)
        files.append(write(self.out / "result.json", json.dumps(result, indent=1).encode()))
        for path in files:
            self.tracker.file(path)
        scalars = {k: result[k] for k in ("healed", "healed_raw", "accuracy_drop", "objective", "sample_gradients")}
        self.tracker.metrics(scalars | {f"seconds/{k}": v for k, v in result["seconds"].items()})
        if result["search"]:
            self.tracker.metrics({f"search/{k}": v for k, v in result["search"].items()})
        self.tracker.close("FINISHED")
        self.tell(result)
        return result

    def summary(self, data: Data, poison: Poison, unlearning: Unlearning) -> dict[str, Any]:
        done = unlearning.outcome
        before, after = done.before, done.after
        drop = before["test/accuracy"] - after["test/accuracy"]
        share = healed(before, after)
        if done.report.saved:
            self.cached.append("unlearn")
        return {
            **identity(self.cfg),
            "poison_rate": len(poison.indices) / len(data.train),
            "n_poisoned": len(poison.indices),
            "n_known": len(unlearning.known),
            "before": before,
            "after": after,
            "healed": share,
            "healed_raw": after.get("trigger/accuracy_all"),
            "accuracy_drop": drop,
            "objective": (share or 0.0) - drop,
            "seconds": {"fit": self.fit_seconds, "unlearn": done.unlearn_seconds, "evaluate": done.evaluate_seconds},
            "cached": self.cached,
            "sample_gradients": done.report.sample_gradients,
            "search": done.report.search,
            "steps": done.report.steps,
            "status": "ok",
        }

    def poison_file(self, data: Data, poison: Poison, unlearning: Unlearning) -> Path:
        """poison.npz: row ids of the poison, of its known and unknown part, and poisoned and true labels of `indices`."""
        rows = poison.indices
        arrays = {
            "indices": rows,
            "known": unlearning.known,
            "unknown": unlearning.unknown,
            "label": poison.train.y[rows],
            "true_label": data.train.y[rows],
        }
        path, half = self.out / "poison.npz", self.out / "poison.half.npz"
        np.savez(half, **{k: t.cpu().numpy() for k, t in arrays.items()})
        os.replace(half, path)
        return path

    def pictures(self, data: Data, poison: Poison, net: nn.Module, unlearning: Unlearning) -> list[Path]:
        done, out = unlearning.outcome, self.out
        made = [
            figures.samples(out / "samples.png", data, poison, done.victim, net),
            figures.per_class(out / "per_class.png", data.classes, done.before, done.after),
        ]
        if done.report.search:
            made.append(figures.search_path(out / "ptn_path.png", done.report.steps, done.report.search, self.cfg.unlearning.rho))
        return made

    def tell(self, result: dict[str, Any]) -> None:
        console = Console()
        console.print(result_table(result))
        console.print(f"run folder  {self.out}", soft_wrap=True, highlight=False)
        if self.tracker.address:
            uri = self.cfg.logger.tracking_uri
            console.print(f"MLflow      {uri}", soft_wrap=True, highlight=False)
            console.print(f"            `make ui`, then http://127.0.0.1:5000/{self.tracker.address}", soft_wrap=True, highlight=False)
