"""MLflow, a sink: the record on disk is the truth, and no trouble here ends a run."""

from __future__ import annotations

import functools
import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, Metric, Param, RunTag
from torch import nn

from antidote.core.checks import BadInput
from antidote.engine import sent
from antidote.engine.database import address, client_of, file_of, prepare
from antidote.engine.experiment import check, found_or_made
from antidote.engine.server import silent
from antidote.engine.tracking import Tracker

log = logging.getLogger(__name__)
for noisy in ("mlflow", "alembic"):  # whose levels the import has set
    logging.getLogger(noisy).setLevel(logging.WARNING)
ALLOWED = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./ :-")
LONGEST = 8000  # characters of a tag
NOTE = "mlflow.note.content"


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
        check(experiment_name)
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
        here = self.artifacts if self.file is not None else None  # a server has its own
        self.experiment_id = found_or_made(self.client, self.experiment, here)

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

    def answers(self) -> bool:
        """Whether MLflow is still there; if not, nothing more is written."""
        if not self.reachable():
            self.run_id = None
        return self.run_id is not None

    def give_up(self) -> None:
        """Nothing more is written; a run that lacks something does not look as if it went on."""
        run_id, self.run_id = self.run_id, None
        if run_id is not None and not silent(self.uri):
            with suppress(Exception):
                self.client.set_terminated(run_id, "FAILED")

    @sinks
    def start(
        self,
        name: str,
        settings: Mapping[str, Any],
        tags: Mapping[str, str],
        files: Iterable[Path] = (),
    ) -> None:
        if not self.reachable():
            return
        self.prepare()
        told = {clean(k): text(v)[:LONGEST] for k, v in tags.items()}
        run = self.client.create_run(self.experiment_id, run_name=text(name), tags=told)
        self.run_id = run.info.run_id
        params = [Param(clean(k), text(v)) for k, v in sent.parameters(settings).items()]
        for start in range(0, len(params), 100):
            self.client.log_batch(self.run_id, params=params[start : start + 100])
        self.files(self.run_id, files)

    @sinks
    def series(self, rows: Sequence[Mapping[str, Any]], first: int = 0) -> None:
        self.batch(metrics(rows, first))

    @sinks
    def finish(
        self, record: Mapping[str, Any], files: Iterable[Path], note: str, net: nn.Module | None
    ) -> None:
        if not self.answers():
            return
        tables = {f"{name}.json": table for name, table in sent.tables(record).items()}
        for name, table in tables.items():
            self.client.log_text(self.run_id or "", as_table(table), name)
        if net is not None:
            self.model(net)
        known = [{"path": name, "type": "table"} for name in tables]  # what MLflow shows as one
        tags = {"mlflow.loggedArtifacts": json.dumps(known)}
        figures = metrics([sent.numbers(record)]) + metrics(sent.steps(record))
        self.end("FINISHED", note, files, tags, figures)

    @sinks
    def fail(self, sentence: str, files: Iterable[Path], note: str) -> None:
        self.end("FAILED", note, files, {"error": text(sentence)[:5000]})

    @sinks
    def end(
        self,
        status: str,
        note: str,
        files: Iterable[Path],
        tags: Mapping[str, str] | None = None,
        figures: Sequence[Metric] = (),
    ) -> None:
        """`note`, in Markdown, is what MLflow shows first of a run."""
        if self.answers():
            told = {**(tags or {}), NOTE: text(note)[:LONGEST]}
            self.batch(figures, [RunTag(k, v) for k, v in told.items()])
            self.files(self.run_id or "", files)
            self.client.set_terminated(self.run_id or "", status)

    def model(self, net: nn.Module) -> None:
        """Loaded by runs:/<run_id>/unlearned. Not all nets can be pickled, nor all servers ask."""
        from antidote.engine.packed import pack  # takes seconds, and few runs need it

        try:
            with TemporaryDirectory() as place:
                packed = pack(net, Path(place))
                model = self.client.create_logged_model(
                    self.experiment_id, "unlearned", source_run_id=self.run_id
                )
                self.client.log_model_artifacts(model.model_id, str(packed))
            self.client.finalize_logged_model(model.model_id, "READY")
            self.client.log_outputs(self.run_id or "", [LoggedModelOutput(model.model_id, 0)])
        except Exception as error:
            log.warning("MLflow does not hold the net as a model: %s", error)

    @sinks
    def killed(self, attempt: str) -> bool | None:
        """Ends the run of an attempt that could not end it itself; whether there was one.

        None if nobody can say.
        """
        if self.file is not None and not self.file.exists():
            return False
        if not self.reachable():
            return None
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
            if path.is_dir():
                self.client.log_artifacts(run_id, str(path), path.name)
            elif path.exists():
                self.client.log_artifact(run_id, str(path))

    def batch(self, figures: Sequence[Metric], tags: Sequence[RunTag] = ()) -> None:
        """In one transaction, which is what costs, as long as there are no more than 900."""
        for start in range(0, max(1, len(figures)), 900):
            some = figures[start : start + 900]
            self.client.log_batch(self.run_id or "", metrics=some, tags=() if start else tags)

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


def metrics(rows: Sequence[Mapping[str, Any]], first: int = 0) -> list[Metric]:
    """One row of numbers per step; what is no finite number is left out.

    MLflow would store an infinity as 1.8e308.
    """
    now = int(1000 * time.time())
    return [
        Metric(clean(k), float(v), now, first + i)
        for i, row in enumerate(rows)
        for k, v in row.items()
        if isinstance(v, int | float) and math.isfinite(v)
    ]


def clean(name: str) -> str:
    """MLflow allows few characters in names."""
    return "".join(c if c in ALLOWED else "_" for c in name)


def as_table(columns: sent.Table) -> str:
    """As `mlflow.load_table` reads it, and MLflow's pages show it."""
    rows = list(zip(*columns.values(), strict=True))
    return json.dumps({"columns": list(columns), "data": rows})


def text(value: Any) -> str:
    """A file's name on Linux may be any bytes, and MLflow takes only Unicode."""
    return str(value).encode(errors="replace").decode()
