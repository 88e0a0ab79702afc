"""Around a sweep: MLflow's database before the first job, a table of all jobs after the last."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

log = logging.getLogger(__name__)


class Sweep(Callback):
    """A Hydra callback. Heavy imports wait, so that `--help` stays quick."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        from hydra.core.hydra_config import HydraConfig

        from antidote.pipeline import main, prepare_store

        HydraConfig.instance().set_config(config)
        if "job" in config.task:
            return prepare_store(config)
        try:
            main(config)
        except Exception:  # Hydra would only warn, and then run all jobs
            traceback.print_exc()
            sys.exit(1)
        sys.exit()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Prints one line per job; ends the process with status 1 if one did not reach its end."""
        from antidote.report.table import show_sweep

        folder = Path(config.hydra.sweep.dir).resolve()
        jobs = sorted(folder.glob("*/.hydra"), key=lambda p: natural(p.parent.name))
        rows = [read(job) for job in jobs]
        show_sweep(rows, folder)
        leave_report(config, rows)
        if any(row["status"] != "ok" for row in rows):
            sys.exit(1)


def leave_report(config: DictConfig, rows: Sequence[dict[str, Any]]) -> None:
    """The report of these jobs' cells; no trouble with it hides what the sweep itself has found."""
    if not config.logger or not rows:
        return
    try:
        from hydra.core.hydra_config import HydraConfig

        from antidote.overview import make, of_jobs

        HydraConfig.instance().set_config(config)  # a job may have left its own
        print(f"report  {make(config, of_jobs(rows))}")
    except Exception as error:
        log.error("no report: %s", " ".join(f"{type(error).__name__}: {error}".split()))


def natural(name: str) -> tuple[int, str]:
    return (int(name) if name.isdigit() else sys.maxsize, name)


def read(hydra_folder: Path) -> dict[str, Any]:
    job = hydra_folder.parent
    overrides = yaml.safe_load((hydra_folder / "overrides.yaml").read_text())
    about = {"job": job.name, "overrides": overrides}
    try:
        return about | json.loads((job / "result.json").read_text())
    except OSError:
        return about | {"status": "killed", "error": "left no result"}
