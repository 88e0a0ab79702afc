"""MLflow, a sink: the record on disk is the truth, and no trouble here ends a run."""

from __future__ import annotations

import functools
import logging
import math
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from antidote.core.checks import BadInput, require
from antidote.engine.database import prepare
from antidote.engine.labels import flat
from antidote.engine.tracking import Tracker

log = logging.getLogger(__name__)
for noisy in ("mlflow", "alembic"):  # whose levels the import has set
    logging.getLogger(noisy).setLevel(logging.WARNING)
ALLOWED = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./ :-")
PATIENCE = 3  # seconds that a server has to answer
# the tag makes MLflow 3's UI open the experiment as machine learning, not as GenAI
KIND = {"mlflow.experimentKind": "custom_model_development"}


def sinks(method: Callable[..., Any]) -> Callable[..., Any]:
    """Whatever fails is said once; from then on the run goes on without MLflow."""

    @functools.wraps(method)
    def guarded(self: Mlflow, *args: Any, **kwargs: Any) -> Any:
        if self.run_id is None and method.__name__ not in ("start", "killed", "attach"):
            return None
        try:
            return method(self, *args, **kwargs)
        except BadInput:
            raise
        except Exception as error:
            log.warning(
                "MLflow at %s failed (%s); the run goes on without it, its record is complete",
                self.uri,
                " ".join(str(error).split())[:200],
            )
            self.run_id = None
            return None

    return guarded


class Mlflow(Tracker):
    """One run. Only the engine ends it, when there is a result: a killed run never looks done."""

    def __init__(
        self,
        tracking_uri: str,
        experiment_name: str,
        artifact_location: str | None,
        run_name: str | None = None,
    ) -> None:
        require(
            bool(str(experiment_name).strip()),
            "logger.experiment_name is empty; give a name, as in logger.experiment_name=antidote",
        )
        self.uri, self.experiment, self.name = tracking_uri, str(experiment_name), run_name
        self.artifacts, self.experiment_id = artifact_location, ""
        self.run_id: str | None = None

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.uri)

    def prepare(self) -> None:
        if self.uri.startswith("sqlite:///"):
            prepare(Path(self.uri.removeprefix("sqlite:///")))
        self.experiment_id = self.found_or_made()

    def found_or_made(self) -> str:
        """The experiment's id; several first writers may all want to make it."""
        found = self.client.get_experiment_by_name(self.experiment)
        if found is None:
            try:
                where = self.artifacts and Path(self.artifacts).expanduser().resolve().as_uri()
                where = where if self.uri.startswith("sqlite:///") else None
                return self.client.create_experiment(self.experiment, where, tags=KIND)
            except MlflowException as error:
                found = self.client.get_experiment_by_name(self.experiment)
                if found is None:
                    raise BadInput(
                        f"logger.experiment_name={self.experiment} is refused by MLflow: "
                        f"{' '.join(str(error).split())}"
                    ) from error
        require(
            found.lifecycle_stage == "active",
            f"logger.experiment_name={self.experiment} was deleted in {self.uri}; restore it there "
            "or choose another name",
        )
        return found.experiment_id

    def reachable(self) -> bool:
        """Whether a server answers at all; MLflow itself would try for minutes."""
        place = urlparse(self.uri)
        if place.scheme not in ("http", "https"):
            return True
        port = place.port or (443 if place.scheme == "https" else 80)
        try:
            with socket.create_connection((place.hostname or "", port), PATIENCE):
                return True
        except OSError as error:
            log.warning(
                "no MLflow server answers at %s (%s); the run goes on without it, its record is "
                "complete",
                self.uri,
                error,
            )
            return False

    @sinks
    def start(self, name: str, settings: Mapping[str, Any], **tags: str) -> None:
        if not self.reachable():
            return
        self.prepare()
        run = self.client.create_run(self.experiment_id, run_name=self.name or name, tags=tags)
        self.run_id = run.info.run_id
        params = [Param(clean(k), str(v)) for k, v in flat(settings).items()]
        for start in range(0, len(params), 100):
            self.batch(params=params[start : start + 100])

    @sinks
    def series(self, rows: Sequence[Mapping[str, Any]], first: int = 0) -> None:
        """One row of numbers per step, in one transaction; what is no finite number is left out.

        MLflow would store an infinity as 1.8e308.
        """
        now = int(1000 * time.time())
        found = [
            Metric(clean(k), float(v), now, first + i)
            for i, row in enumerate(rows)
            for k, v in row.items()
            if isinstance(v, int | float) and math.isfinite(v)
        ]
        for start in range(0, len(found), 1000):
            self.batch(metrics=found[start : start + 1000])

    @sinks
    def finish(self, record: Mapping[str, Any], files: Iterable[Path]) -> None:
        """All numbers of a record, its steps, and files; then the run is finished."""
        told = {k: v for k, v in record.items() if k not in ("settings", "steps", "epochs")}
        self.series([{name.replace(".", "/"): v for name, v in flat(told).items()}])
        self.series([{f"unlearn/{k}": v for k, v in step.items()} for step in record["steps"]])
        self.attach(self.run_id or "", files)
        self.client.set_terminated(self.run_id or "", "FINISHED")

    @sinks
    def fail(self, sentence: str, files: Iterable[Path]) -> None:
        self.client.set_tag(self.run_id or "", "error", sentence[:5000])
        self.attach(self.run_id or "", files)
        self.client.set_terminated(self.run_id or "", "FAILED")

    @sinks
    def killed(self, run_id: str) -> None:
        """Ends a run that its process could not end."""
        if self.reachable():
            self.client.set_terminated(run_id, "KILLED")

    @sinks
    def attach(self, run_id: str, files: Iterable[Path]) -> None:
        for path in files:
            if path.exists():
                self.client.log_artifact(run_id, str(path))

    def batch(self, **what: Any) -> None:
        self.client.log_batch(self.run_id or "", **what)

    def holds(self, told: Mapping[str, Any] | None) -> bool:
        return (
            told is not None and told["uri"] == self.uri and told["experiment"] == self.experiment
        )

    def where(self) -> dict[str, str] | None:
        if self.run_id is None:
            return None
        about = {"uri": self.uri, "experiment": self.experiment, "run_id": self.run_id}
        return about | {"address": f"#/experiments/{self.experiment_id}/runs/{self.run_id}"}


def clean(name: str) -> str:
    """MLflow allows few characters in names."""
    return "".join(c if c in ALLOWED else "_" for c in name)
