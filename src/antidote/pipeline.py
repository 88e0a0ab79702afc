"""From a config to a result, or to a failure that is found where results are looked for."""

from __future__ import annotations

import json
import logging
import math
import traceback
import warnings
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from antidote.config import bad_input, build, choices, identity, log_file, plain
from antidote.report import files
from antidote.stages import Run
from antidote.tracking import Tracker, ensure_store

log = logging.getLogger(__name__)


def main(cfg: DictConfig) -> float:
    """Runs `cfg` and returns the objective, healed - accuracy_drop.

    A failed job leaves result.json, traceback.txt and a FAILED run in MLflow. In a sweep it
    then returns NaN, so that the others go on; alone, bad input ends in one sentence and
    anything else is raised.
    """
    out = Path(HydraConfig.get().runtime.output_dir)
    tracker = Tracker(None)
    try:
        logger = start_logging(cfg)
        tracker = Tracker(logger)
        tracker.parameters(plain(cfg) | {"choice": choices()})
        return Run(cfg, out, tracker, logger).result()["objective"]
    except (Exception, SystemExit) as error:
        # Lightning turns Ctrl-C into SystemExit; a sweep must end on it, not go on to the next job
        if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
            fail(KeyboardInterrupt("interrupted"), cfg, out, tracker)
            raise KeyboardInterrupt from None
        sentence = fail(error, cfg, out, tracker)
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            log.error("failed: %s", sentence)
            return math.nan
        if bad_input(error):
            raise SystemExit(f"error: {sentence}") from None
        raise


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
    trace = files.write(out / "traceback.txt", "".join(traceback.format_exception(error)))
    try:
        about = identity(cfg)
    except OmegaConfBaseException:  # a config that does not resolve is what failed
        about = choices()
    result = {**about, "status": "failed", "error": sentence}
    tracker.tag("error", sentence[:5000])
    written = files.write(out / "result.json", json.dumps(result, indent=1))
    for path in (trace, written, log_file(out)):
        tracker.file(path)
    tracker.close("FAILED")
    return sentence
