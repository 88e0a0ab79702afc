"""One attempt at a cell: nobody else at it meanwhile, and its end recorded, whatever it is."""

from __future__ import annotations

import functools
import logging
import subprocess
import time
import traceback
import uuid
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from antidote.engine.cell import GROUPS, Cell, bad_input
from antidote.engine.disk import Lock, as_json, write
from antidote.engine.labels import run_name, tags
from antidote.engine.left import lacks
from antidote.engine.modules import installed
from antidote.engine.parent import parent_of
from antidote.engine.records import Record, Records
from antidote.engine.stop import sentence_of
from antidote.engine.tracking import Tracker

log = logging.getLogger(__name__)
OWN = (  # what a run leaves in its folder; an earlier one's goes first
    "result.json",
    "traceback.txt",
    "config.yaml",
    "poison.npz",
    "traced.npz",
    "traced.txt",
    "samples.npz",
    "victim.safetensors",
    "unlearned.safetensors",
    "samples.png",
    "per_class.png",
    "ptn_path.png",
)


class Attempt:
    """`with Attempt(cell)`: an exception becomes a record, and nobody else is at the cell.

    In a sweep an exception is then swallowed, so that the other jobs go on; alone it is raised, bad
    input without what others wrapped it in. Ctrl-C and SIGTERM end everything. `note` tells a
    record to people who look at it in MLflow, in Markdown.
    """

    def __init__(self, cell: Cell, note: Callable[[Record], str] = lambda record: "") -> None:
        self.cell, self.records, self.tracker = cell, Records(cell.output), Tracker()
        self.note = note
        self.folder = cell.folder or Path()
        self.id = f"unread-{cell.config_hash}"  # until the data are known
        self.lock: Lock | None = None
        self.began = time.strftime("%F %T")
        self.done: Record | None = None

    def __enter__(self) -> Attempt:
        for path in (self.folder / name for name in OWN):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                log.warning("%s, of an earlier run, cannot be removed (%s)", path, error)
        return self

    def claim(self, id: str, tracker: Tracker) -> None:
        """The cell is this one, and nobody else may run it until the end of the attempt."""
        self.id, self.tracker, self.lock = id, tracker, self.records.lock(id)
        self.lock.acquire()
        tidy(self.records, id)

    def before(self, net: Callable[[Path], nn.Module]) -> Record | None:
        """In a sweep, the record of a cell that is done and left all that is asked for now.

        What MLflow lacks is sent there from the record; `net(folder)` is what was unlearned there.
        """
        again = not self.cell.resumes or self.cell.settings["cache"] == "refresh"
        if self.cell.sweep is None or again:
            return None
        record = self.records.read(self.id)
        if record is None or record["status"] != "ok" or lacks(record, self.cell.settings):
            return None
        log.info("done before, in %s; resume=off does it again", record["folder"])
        if not self.tracker.holds(record["mlflow"]):
            self.start()
            folder = Path(record["folder"])
            healed = net(folder) if self.cell.settings["save_models"] else None
            self.tracker.finish(record, sorted(folder.glob("*.*")), self.noted(record), healed)
            self.records.write(record | {"mlflow": self.tracker.where()})
        return record

    def noted(self, record: Record) -> str:
        """The note of a record, which costs no result."""
        try:
            return self.note(record)
        except Exception as error:
            log.warning("MLflow gets no note: %s: %s", type(error).__name__, error)
            return ""

    def epoch(self, figures: Mapping[str, float], epoch: int) -> None:
        """The victim's training, as it goes."""
        self.tracker.series([figures], first=epoch)

    def attach(self, made: Iterable[Path]) -> None:
        if self.tracker.run_id is not None:
            self.tracker.attach(self.tracker.run_id, made)

    def start(self) -> None:
        """From here on the cell counts as being run."""
        settings, choices = self.cell.settings, self.cell.choices
        attempt, place = uuid.uuid4().hex, self.tracker.place()
        mark = {"config_hash": self.cell.config_hash, "sweep": self.cell.sweep}
        # before there is a run: one that nobody knows of could never be ended
        self.records.mark(self.id, **mark, mlflow=place and {**place, "attempt": attempt})
        parent = parent_of(self.cell.sweep, self.tracker) or {}
        name = run_name(settings, choices, parent.get("axes", ()), self.tracker.name)
        told = {
            **tags(settings, choices, self.cell.overrides),
            "config_hash": self.cell.config_hash,
            "cell": self.id,
            "command": self.cell.command,
            "commit": commit(),
            "attempt": attempt,
            "mlflow.note.content": self.noted(self.about()),
        }
        told |= {"mlflow.parentRunId": parent["run_id"]} if parent else {}
        chosen = {f"choice.{k}": v for k, v in choices.items() if not k.startswith("hydra/")}
        config = self.folder / "config.yaml"
        tried(lambda: write(config, yaml.safe_dump(settings, sort_keys=False)))
        self.tracker.start(name, settings | chosen, told, [config])

    def about(self) -> Record:
        """What a record says whatever came of the attempt."""
        return {
            "id": self.id,
            "config_hash": self.cell.config_hash,
            "seed": self.cell.settings["seed"],
            **{group: self.cell.choices.get(group, "") for group in GROUPS},
            "command": self.cell.command,
            "commit": commit(),
            "folder": str(self.folder),
            "sweep": self.cell.sweep,
            "job": self.cell.job,
            "began": self.began,
            "ended": time.strftime("%F %T"),
            "mlflow": self.tracker.where(),
            "settings": self.cell.content,
        }

    def finish(
        self, result: Mapping[str, Any], made: Iterable[Path], net: nn.Module | None = None
    ) -> Record:
        """The record comes first, then what may fail; `net` is to be kept in MLflow, too."""
        record = {**self.about(), **result, "status": "ok", "error": None}
        self.keep(record)
        files = [*made, self.folder / "result.json"]  # its log has no end yet
        tried(lambda: self.tracker.finish(record, files, self.noted(record), net))
        if record["mlflow"] and self.tracker.where() is None:  # gone meanwhile: to be sent again
            record["mlflow"] = None
            tried(lambda: self.keep(record))
        return record

    def keep(self, record: Record) -> None:
        self.records.write(record)
        self.done = record
        tried(lambda: write(self.folder / "result.json", as_json(record, indent=1)))

    def logs(self) -> list[Path]:
        return [self.cell.log] if self.cell.log else []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> bool:
        # Lightning turns Ctrl-C into SystemExit; a sweep must end on it, not go on to the next job
        if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
            error = error.__context__
        told = False
        try:
            if error is not None and self.done is None:
                self.fail(error)
            told = True
        finally:
            if self.lock is not None:
                # stopped, or stopped once more, when on record: the mark tells that not all of it
                # may be in MLflow
                if told and (error is None or self.done is None):
                    tried(lambda: self.records.unmark(self.id))
                tried(self.lock.release)
        if error is None:
            return False
        return self.ended(error)

    def ended(self, error: BaseException) -> bool:
        """How the process or the sweep goes on; True if it goes on as if nothing had happened."""
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        if self.cell.sweep is None:
            refused = bad_input(error)
            if refused not in (None, error):
                raise refused from None
            return False
        if isinstance(error, Exception | SystemExit):
            log.error("failed: %s", sentence_of(error))
            return True
        return False

    def fail(self, error: BaseException) -> None:
        """Leaves the failure where results are looked for; no step keeps the next from its try."""
        sentence = sentence_of(error)
        trace = self.folder / "traceback.txt"
        record = {**self.about(), "status": "failed", "error": sentence}
        tried(lambda: self.records.write(record))
        tried(lambda: write(trace, "".join(traceback.format_exception(error))))
        tried(lambda: write(self.folder / "result.json", as_json(record, indent=1)))
        tried(lambda: self.tracker.fail(sentence, [trace, *self.logs()], self.noted(record)))


def tidy(records: Records, id: str) -> None:
    """Ends in MLflow the run of a cell that a killed process has left; the caller has its lock.

    A result on record, not all of which may have got there, is to be sent again.
    """
    mark = records.marked(id)
    if mark is None:
        return
    told = mark.get("mlflow")
    if told:
        from antidote.engine.database import setting_of
        from antidote.engine.mlflow import Mlflow

        if Mlflow(setting_of(told["uri"]), told["experiment"], None).killed(told["attempt"]):
            records.unsent(id)
    records.unmark(id)


def tried(step: Callable[[], object]) -> None:
    try:
        step()
    except Exception as error:
        log.warning("the end of the run could not be recorded everywhere: %s", error)


@functools.cache
def commit() -> str:
    """The source's git commit, with + if files differ from it; if it is installed its version.

    "unknown" in neither case.
    """
    if installed(__file__):  # in somebody else's repository, perhaps
        return version("antidote")
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return said.stdout.strip()
