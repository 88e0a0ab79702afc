"""MLflow, a sink: the record on disk is the truth, and no trouble here ends a run."""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from antidote.core.checks import BadInput, require
from antidote.engine.database import address, client_of, file_of, prepare
from antidote.engine.labels import flat
from antidote.engine.server import silent
from antidote.engine.tracking import Tracker

log = logging.getLogger(__name__)
for noisy in ("mlflow", "alembic"):  # whose levels the import has set
    logging.getLogger(noisy).setLevel(logging.WARNING)
ALLOWED = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./ :-")
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
            self.give_up()
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
        self.file = file_of(tracking_uri)
        self.uri = tracking_uri if self.file is None else address(self.file)
        self.experiment, self.name = str(experiment_name), run_name
        self.artifacts, self.experiment_id = artifact_location, ""
        self.run_id: str | None = None

    @property
    def client(self) -> MlflowClient:
        """Of a database that was looked at before: to close its file later drops SQLite's locks.

        Then another process takes itself for the last one, and removes what is not written yet.
        """
        if self.file is None:
            return MlflowClient(self.uri)
        prepare(self.file)
        return client_of(self.file)

    def prepare(self) -> None:
        if self.file is not None:
            prepare(self.file)
        self.experiment_id = self.found_or_made()

    def found_or_made(self) -> str:
        """The experiment's id; several first writers may all want to make it."""
        found = self.client.get_experiment_by_name(self.experiment)
        if found is None:
            try:
                where = self.artifacts and Path(self.artifacts).expanduser().resolve().as_uri()
                where = where if self.file is not None else None
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
        why = silent(self.uri)
        if why:
            log.warning(
                "no MLflow server answers at %s (%s); the run goes on without it, its record is "
                "complete",
                self.uri,
                why,
            )
        return not why

    def give_up(self) -> None:
        """Nothing more is written; a run that lacks something does not look as if it went on."""
        run_id, self.run_id = self.run_id, None
        if run_id is not None and not silent(self.uri):
            with suppress(Exception):
                self.client.set_terminated(run_id, "FAILED")

    @sinks
    def start(self, name: str, settings: Mapping[str, Any], **tags: str) -> None:
        if not self.reachable():
            return
        self.prepare()
        told, name = {k: text(v) for k, v in tags.items()}, text(self.name or name)
        run = self.client.create_run(self.experiment_id, run_name=name, tags=told)
        self.run_id = run.info.run_id
        params = [Param(clean(k), text(v)) for k, v in flat(settings).items()]
        for start in range(0, len(params), 100):
            self.batch(params=params[start : start + 100])

    @sinks
    def series(self, rows: Sequence[Mapping[str, Any]], first: int = 0) -> None:
        self.rows(rows, first)

    def rows(self, rows: Sequence[Mapping[str, Any]], first: int = 0) -> None:
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
        self.rows([{name.replace(".", "/"): v for name, v in flat(told).items()}])
        self.rows([{f"unlearn/{k}": v for k, v in step.items()} for step in record["steps"]])
        self.files(self.run_id or "", files)
        self.client.set_terminated(self.run_id or "", "FINISHED")

    @sinks
    def fail(self, sentence: str, files: Iterable[Path]) -> None:
        self.client.set_tag(self.run_id or "", "error", text(sentence)[:5000])
        self.files(self.run_id or "", files)
        self.client.set_terminated(self.run_id or "", "FAILED")

    @sinks
    def killed(self, attempt: str) -> bool:
        """Ends the run of an attempt that could not end it itself; whether there was one."""
        if (self.file is not None and not self.file.exists()) or not self.reachable():
            return False
        experiment = self.client.get_experiment_by_name(self.experiment)
        where = f"tags.attempt = '{attempt}' and attributes.status = 'RUNNING'"
        runs = self.client.search_runs([experiment.experiment_id], where) if experiment else []
        for run in runs:
            self.client.set_terminated(run.info.run_id, "KILLED")
        return bool(runs)

    @sinks
    def attach(self, run_id: str, files: Iterable[Path]) -> None:
        self.files(run_id, files)

    def files(self, run_id: str, files: Iterable[Path]) -> None:
        for path in files:
            if path.exists():
                self.client.log_artifact(run_id, str(path))

    def batch(self, **what: Any) -> None:
        self.client.log_batch(self.run_id or "", **what)

    def holds(self, told: Mapping[str, Any] | None) -> bool:
        return (
            told is not None and told["uri"] == self.uri and told["experiment"] == self.experiment
        )

    def place(self) -> dict[str, str]:
        return {"uri": self.uri, "experiment": self.experiment}

    def where(self) -> dict[str, str] | None:
        if self.run_id is None:
            return None
        address = f"#/experiments/{self.experiment_id}/runs/{self.run_id}"
        return self.place() | {"run_id": self.run_id, "address": address}


def clean(name: str) -> str:
    """MLflow allows few characters in names."""
    return "".join(c if c in ALLOWED else "_" for c in name)


def text(value: Any) -> str:
    """A file's name on Linux may be any bytes, and MLflow takes only Unicode."""
    return str(value).encode(errors="replace").decode()
