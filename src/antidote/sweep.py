"""Around a sweep: MLflow's database before the first job, a table of all jobs after the last."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class Sweep(Callback):
    """A Hydra callback. Heavy imports wait, so that `--help` stays quick."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        from hydra.core.hydra_config import HydraConfig

        from antidote.pipeline import main, prepare_store

        HydraConfig.instance().set_config(config)
        if "job" not in config.task:
            main(config)
            sys.exit()
        prepare_store(config)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Prints one line per job; ends the process with status 1 if one did not reach its end."""
        from antidote.report.table import show_sweep

        folder = Path(config.hydra.sweep.dir).resolve()
        jobs = sorted(folder.glob("*/.hydra"), key=lambda p: natural(p.parent.name))
        rows = [read(job) for job in jobs]
        show_sweep(rows, folder)
        if any(row["status"] != "ok" for row in rows):
            sys.exit(1)


def natural(name: str) -> tuple[int, str]:
    return (int(name) if name.isdigit() else sys.maxsize, name)


def read(hydra_folder: Path) -> dict[str, Any]:
    job = hydra_folder.parent
    overrides = (hydra_folder / "overrides.yaml").read_text().replace("- ", "").split()
    about = {"job": job.name, "overrides": overrides}
    try:
        return about | json.loads((job / "result.json").read_text())
    except OSError:
        return about | {"status": "killed", "error": "left no result"}
