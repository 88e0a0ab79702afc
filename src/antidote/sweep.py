"""What happens around a sweep: MLflow's database before the first job, a table of all jobs after the last."""

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

        from antidote.pipeline import prepare_store

        HydraConfig.instance().set_config(config)
        prepare_store(config)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Prints one line per job and ends the process with status 1 if one did not come to its end."""
        from rich.console import Console

        from antidote.report.table import sweep_table

        folder = Path(config.hydra.sweep.dir)
        rows = [
            read(job)
            for job in sorted(folder.glob("*/.hydra"), key=lambda p: natural(p.parent.name))
        ]
        for row in rows:  # what all jobs have in common says nothing in a row
            shared = (
                set.intersection(*(set(r["overrides"]) for r in rows)) if len(rows) > 1 else set()
            )
            row["shown"] = " ".join(o for o in row["overrides"] if o not in shared)
        failed = sum(row["status"] != "ok" for row in rows)
        console = Console()
        console.print(sweep_table(rows))
        console.print(
            f"{len(rows) - failed} ok, {failed} failed; folders in {folder.resolve()}",
            soft_wrap=True,
            highlight=False,
        )
        if failed:
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
