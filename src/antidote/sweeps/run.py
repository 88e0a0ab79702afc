"""Runs the cells of a grid that are not done, whatever becomes of single ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from antidote.engine import source
from antidote.engine.attempt import Attempt, tidy
from antidote.engine.cell import Cell
from antidote.engine.records import Record, Records
from antidote.engine.stop import sentence_of
from antidote.engine.store import Store
from antidote.sweeps.done import Done
from antidote.sweeps.row import Row, why

log = logging.getLogger(__name__)
Launch = Callable[[Sequence[Cell], int], Sequence[Any]]
KILLED = (
    "its process was killed, and killed again when it ran alone, as a machine does that is out of "
    "memory; a smaller recipe.batch_size or fewer jobs at a time may help"
)


LEFT_OUT = "left out"  # never run, and resume=failed does not ask for it


class Sweep:
    """The jobs of a grid; `launch(cells, first)` runs some, numbered from `first`.

    `rows` are all of them; a row without a record is still to be done.
    """

    def __init__(self, folder: str, cells: Sequence[Cell], launch: Launch) -> None:
        self.folder, self.launch, self.launched = folder, launch, 0
        self.rows = [Row(cell) for cell in cells]
        self.output = cells[0].output
        self.records = Records(self.output)
        self.store = Store(cells[0].settings["store"], cells[0].settings["cache"])
        # a folder that was named may hold the jobs of an earlier sweep
        used = Path(folder).is_dir() and any(Path(folder).iterdir())
        self.earlier = self.left_here() if used else {}

    def left_here(self) -> dict[str, Record]:
        """The records of jobs of this folder, by id."""
        return {r["id"]: r for r in self.records if r.get("sweep") == self.folder}

    def todo(self) -> list[Row]:
        return [row for row in self.rows if row.status == "missing"]

    def skip(self) -> None:
        """Cells that are done are not run; with resume=failed none but those that failed."""
        done = Done(self.records, self.store)
        for row in self.rows:
            record = done.record(row.cell)
            if record is not None:
                row.record, row.status, row.before = record, "ok", True
        rest = self.todo()
        if rest and rest[0].cell.settings["resume"] == "failed":
            failed = {r["config_hash"] for r in self.records if r["status"] == "failed"}
            for row in rest:
                row.status = "missing" if row.cell.config_hash in failed else LEFT_OUT

    def run(self) -> None:
        """All that is to do. A worker that dies takes others with it; those are started again.

        A cell whose process died is tried once more at the end, alone. Where nobody can say whose
        process it was, and nothing gets done any more, that is every cell that is left.
        """
        suspects: list[Row] = []
        while rest := [row for row in self.todo() if row not in suspects]:
            whole = self.start(rest)
            left = [row for row in rest if row.status == "missing"]
            died = [row for row in self.killed() if row in left]
            if whole and not died:
                break
            suspects += died or (left if len(left) == len(rest) else [])
        for row in suspects:
            if row.status == "missing":
                log.warning("once more, alone: %s", " ".join(row.cell.overrides))
                self.start([row])
        for row in self.todo():
            self.give_up(row, row.error or (KILLED if row in suspects else "it left no result"))

    def start(self, rows: Sequence[Row]) -> bool:
        """Whether the launcher came to its end."""
        first, self.launched = self.launched, self.launched + len(rows)
        for job, row in enumerate(rows, first):
            row.job = job
        returned: Sequence[Any] = []
        stop: Exception | None = None
        try:
            returned = self.launch([row.cell for row in rows], first)
        except Exception as error:
            log.warning("the launcher was stopped: %s", " ".join(str(error).split())[:300])
            stop = error
        for row, job in zip(rows, returned, strict=False):
            row.error = why(job)
        if stop is not None and not isinstance(stop, BrokenExecutor) and len(rows) == 1:
            rows[0].error = sentence_of(stop)
        self.look()
        return stop is None

    def look(self) -> None:
        """What became of the jobs that were launched, from the records they left."""
        found = self.left_here().items()
        mine = {r["config_hash"]: r for id, r in found if r != self.earlier.get(id)}
        done = Done(self.records, self.store)
        for row in self.todo():
            record = mine.get(row.cell.config_hash) or done.record(row.cell)
            if record is not None:
                row.record, row.status, row.error = record, record["status"], record["error"]

    def killed(self) -> list[Row]:
        """Jobs whose process died: their mark is there, and nobody holds their lock."""
        marks = self.marks()
        return [row for row in self.todo() if row.cell.config_hash in marks]

    def marks(self) -> dict[str, str]:
        """{config hash: id} of cells of this sweep that a process left half done."""
        return {
            mark["config_hash"]: id
            for id, mark in self.records.marks()
            if mark.get("sweep") == self.folder and self.records.lock(id).free()
        }

    def give_up(self, row: Row, sentence: str) -> None:
        """Recorded as failed, also in MLflow, which its process could not do."""
        row.status, row.error = "failed", sentence
        about = Attempt(row.cell).about() | {"sweep": self.folder, "job": row.job}
        data = source.known(row.cell, self.store)
        id = self.end(row) or (row.cell.id(data) if data else about["id"])
        row.record = about | {"id": id, "status": "failed", "error": sentence}
        with suppress(OSError):
            self.records.write(row.record)

    def end(self, row: Row) -> str | None:
        """Ends, in MLflow, the run that a dead process has left; the cell's id if there is one."""
        id = self.marks().get(row.cell.config_hash)
        if id is not None:
            with self.records.lock(id):
                tidy(self.records, id)
        return id

    def stopped(self) -> None:
        """The sweep was told to end: what is done stays done, what was at work is no longer."""
        self.look()
        for row in self.rows:
            begun = self.end(row) is not None
            if row.status == "missing":
                row.status = "stopped" if begun else "not run"


def exclusive(folder: str) -> str:
    """A new folder of that name, or of one that nobody else has: two sweeps never share one."""
    path, n = Path(folder), 1
    while True:
        try:
            path.mkdir(parents=True)
            return str(path)
        except FileExistsError:
            n += 1
            path = Path(f"{folder}_{n}")
