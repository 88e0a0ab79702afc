"""MLflow: a store that exists before the first writer, and the logging of one run."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock
from lightning.pytorch.loggers import Logger, MLFlowLogger
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

ALLOWED = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./ :-")


def ensure_store(uri: str, experiment: str, artifacts: str | None) -> None:
    """Creates and migrates an sqlite store and its experiment, once and under a lock.

    Several first-time writers otherwise trip over one another (MLflow creates its tables
    without a lock), and Lightning's logger loses the race for a new experiment. Other stores
    are left to their server.
    """
    if not uri.startswith("sqlite:///"):
        return
    database = Path(uri.removeprefix("sqlite:///"))
    ready = database.with_name(f"{database.name}.{experiment}.ready")
    if ready.exists() and database.exists():
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{database}.lock"):
        client = MlflowClient(uri)
        if client.get_experiment_by_name(experiment) is None:
            location = Path(artifacts).resolve().as_uri() if artifacts else None
            # the tag makes MLflow 3's UI open the experiment as machine learning, not as GenAI
            tags = {"mlflow.experimentKind": "custom_model_development"}
            client.create_experiment(experiment, artifact_location=location, tags=tags)
        connection = sqlite3.connect(database)
        connection.execute("pragma journal_mode=wal")
        connection.close()
        ready.touch()


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}."""
    out: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        out |= flat(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return out


class Tracker:
    """Writes a run's parameters, metrics and files to Lightning's MLflow logger, if present."""

    def __init__(self, logger: Logger | None) -> None:
        self.logger = logger if isinstance(logger, MLFlowLogger) else None

    @property
    def address(self) -> str | None:
        """Where MLflow's UI shows the run."""
        if self.logger is None:
            return None
        return f"#/experiments/{self.logger.experiment_id}/runs/{self.logger.run_id}"

    def parameters(self, config: Mapping[str, Any]) -> None:
        params = [Param(clean(k), str(v)) for k, v in flat(config).items()]
        for start in range(0, len(params), 100):
            self.batch(params=params[start : start + 100])

    def metrics(self, values: Mapping[str, float | None], step: int = 0) -> None:
        self.series([values], first=step)

    def series(self, rows: Sequence[Mapping[str, float | None]], first: int = 0) -> None:
        """One row per step, in one transaction; None and infinities are left out.

        MLflow would store an infinity as 1.8e308.
        """
        now = int(1000 * time.time())
        found = [
            Metric(clean(k), float(v), now, first + i)
            for i, row in enumerate(rows)
            for k, v in row.items()
            if v is not None and not math.isinf(v)
        ]
        for start in range(0, len(found), 1000):
            self.batch(metrics=found[start : start + 1000])

    def result(self, result: Mapping[str, Any]) -> None:
        """The summary numbers of a result.json, but for what `record` writes before and after."""
        numbers = {
            name.replace(".", "/"): float(value)
            for name, value in flat(result).items()
            if isinstance(value, int | float) and not name.startswith(("before.", "after."))
        }
        self.metrics(numbers)

    def batch(self, **what: Any) -> None:
        if self.logger is not None:
            self.logger.experiment.log_batch(self.logger.run_id, **what)

    def file(self, path: Path, folder: str | None = None) -> None:
        if self.logger is not None and path.exists():
            self.logger.experiment.log_artifact(self.logger.run_id, str(path), folder)

    def tags(self, **values: str) -> None:
        for name, value in values.items():
            self.tag(name, value)

    def tag(self, name: str, value: str) -> None:
        if self.logger is not None:
            self.logger.experiment.set_tag(self.logger.run_id, name, value)

    def close(self, status: str) -> None:
        """`status`: FINISHED or FAILED."""
        if self.logger is not None:
            self.logger.experiment.set_terminated(self.logger.run_id, status)


def clean(name: str) -> str:
    """MLflow allows few characters in names."""
    return "".join(c if c in ALLOWED else "_" for c in name)
