"""From a config to a result, or to a failure that is found where results are looked for."""

from __future__ import annotations

import json
import logging
import math
import subprocess
import traceback
import warnings
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from antidote import labels
from antidote.cells import Cell
from antidote.config import (
    bad_input,
    build,
    choices,
    content,
    identity,
    log_file,
    plain,
    threads_of,
)
from antidote.disk import write
from antidote.grid import command
from antidote.stages import Run
from antidote.tracking import Tracker, ensure_store

log = logging.getLogger(__name__)


def main(cfg: DictConfig) -> float | None:
    """Does `cfg.task`: a job's own task, or one that looks at a whole sweep."""
    (task,) = instantiate(cfg.task).values()
    return task(cfg)


def run(cfg: DictConfig) -> float:
    """Runs `cfg` and returns the objective, healed - accuracy_drop.

    A failed job leaves result.json, traceback.txt and a FAILED run in MLflow. In a sweep it
    then returns NaN, so that the others go on; alone, bad input ends in one sentence and
    anything else is raised. In a sweep a cell that is done is not done again.
    """
    out = Path(HydraConfig.get().runtime.output_dir)
    sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    tracker = Tracker(None)
    try:
        about = identity(cfg)
        cell = Cell(cfg.output, about["config_hash"])
        with cell.lock:
            done = cell.read() if sweep and cfg.resume else None
            if done is not None:
                return skip(done, out)
            logger = start_logging(cfg)
            tracker = Tracker(logger)
            tracker.parameters(plain(cfg) | {"choice": choices()})
            tracker.tags(
                config_hash=about["config_hash"],
                command=command(HydraConfig.get().overrides.task),
                commit=commit(),
            )
            result = Run(cfg, out, tracker, logger).result()
            scale = labels.scale(content(cfg), threads_of(cfg))
            cell.record(result | {"scale": scale}, out)
            return result["objective"]
    except (Exception, SystemExit) as error:
        # Lightning turns Ctrl-C into SystemExit; a sweep must end on it, not go on to the next job
        if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
            fail(KeyboardInterrupt("interrupted"), cfg, out, tracker)
            raise KeyboardInterrupt from None
        sentence = fail(error, cfg, out, tracker)
        if sweep:
            log.error("failed: %s", sentence)
            return math.nan
        if bad_input(error):
            raise SystemExit(f"error: {sentence}") from None
        raise


def skip(done: dict[str, Any], out: Path) -> float:
    """Leaves a result.json that points to the run which did this cell before."""
    log.info("done before, in %s; resume=false does it again", done["folder"])
    write(out / "result.json", json.dumps({**done, "done_before": True}, indent=1))
    return done["objective"]


def commit() -> str:
    """The source's git commit, with + if files differ from it; "unknown" outside a repository."""
    here = Path(__file__).parent
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return said.stdout.strip()


def start_logging(cfg: DictConfig) -> Logger | None:
    for noisy in ("lightning.pytorch", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # deprecations inside Lightning, hints about workers
    warnings.filterwarnings("ignore", module="lightning")
    prepare_store(cfg)
    return build(cfg, "logger") or None  # the option `none` is empty


def prepare_store(cfg: DictConfig) -> None:
    """Creates MLflow's database before anybody writes to it."""
    if cfg.logger:
        ensure_store(
            cfg.logger.tracking_uri, cfg.logger.experiment_name, cfg.logger.get("artifact_location")
        )


def fail(error: BaseException, cfg: DictConfig, out: Path, tracker: Tracker) -> str:
    """Leaves the failure where results are looked for; returns it as a sentence."""
    sentence = str(bad_input(error) or f"{type(error).__name__}: {error}").strip()
    trace = write(out / "traceback.txt", "".join(traceback.format_exception(error)))
    try:
        about = identity(cfg)
        Cell(cfg.output, about["config_hash"]).failed(sentence)
    except OmegaConfBaseException:  # a config that does not resolve is what failed
        about = choices()
    result = {**about, "status": "failed", "error": sentence}
    tracker.tag("error", sentence[:5000])
    written = write(out / "result.json", json.dumps(result, indent=1))
    for path in (trace, written, log_file(out)):
        tracker.file(path)
    tracker.close("FAILED")
    return sentence
