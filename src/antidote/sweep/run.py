"""Runs the cells of a grid that are not done, whatever becomes of single ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antidote.engine import source
from antidote.engine.attempt import Attempt, lacks, sentence_of
from antidote.engine.cell import Cell
from antidote.engine.records import Record, Records
from antidote.engine.store import Store

log = logging.getLogger(__name__)
Launch = Callable[[Sequence[Sequence[str]], int], Sequence[Any]]
KILLED = (
    "its process was killed, and killed again when it ran alone, as a machine does that is out of "
    "memory; a smaller recipe.batch_size or fewer jobs at a time may help"
)


@dataclass(eq=False)
class Row:
    """One job of the table: its record if it has one, and what became of it."""

    cell: Cell
    record: Record | None = None
    status: str = "missing"
    error: str | None = None
    before: bool = False  # done before this sweep

    def told(self) -> dict[str, Any]:
        """For people: what the record says and what became of the job."""
        record = self.record or {}
        job = record.get("job")
        return {
            **record,
            "job": "" if self.before or job is None else str(job),
            "overrides": list(self.cell.overrides),
            "done_before": self.before,
            "status": self.status,
            "error": self.error,
        }


class Sweep:
    """The jobs of a grid; `launch(overrides, first)` runs some, numbered from `first`.

    `rows` are all of them; a row without a record is still to be done.
    """

    def __init__(self, folder: str, cells: Sequence[Cell], launch: Launch) -> None:
        self.folder, self.launch, self.launched = folder, launch, 0
        self.rows = [Row(cell) for cell in cells]
        self.records = Records(cells[0].output)
        self.store = Store(cells[0].settings["store"], cells[0].settings["cache"])

    def todo(self) -> list[Row]:
        return [row for row in self.rows if row.status == "missing"]

    def skip(self) -> None:
        """Cells that are done, with all that is asked for, are not run."""
        for row in self.rows:
            record = self.done(row.cell)
            if record is not None:
                row.record, row.status, row.before = record, "ok", True

    def done(self, cell: Cell) -> Record | None:
        data = source.known(cell, self.store) if cell.settings["resume"] else None
        record = None if data is None else self.records.read(cell.id(data))
        if record is None or record["status"] != "ok" or lacks(record, cell.settings):
            return None
        return record

    def run(self) -> None:
        """All that is to do. A worker that dies takes others with it; those are started again.

        A cell whose process died is tried once more at the end, alone.
        """
        suspects: list[Row] = []
        while rest := [row for row in self.todo() if row not in suspects]:
            self.start(rest)
            died = [row for row in self.killed() if row not in suspects]
            suspects += died
            if not died:
                break
        for row in suspects:
            if row.status == "missing":
                log.warning("once more, alone: %s", " ".join(row.cell.overrides))
                self.start([row])
        for row in self.todo():
            self.give_up(row, KILLED if row in suspects else row.error or "it left no result")

    def start(self, rows: Sequence[Row]) -> None:
        first, self.launched = self.launched, self.launched + len(rows)
        try:
            returned = self.launch([row.cell.overrides for row in rows], first)
        except Exception as error:
            log.warning("the launcher was stopped: %s", " ".join(str(error).split())[:300])
            returned = []
        for row, job in zip(rows, returned, strict=False):
            try:
                _ = job.return_value  # raises what the job raised
            except Exception as error:
                row.error = sentence_of(error)
        self.look()

    def look(self) -> None:
        """What became of the jobs that were launched, from the records they left."""
        mine = {r["config_hash"]: r for r in self.records if r.get("sweep") == self.folder}
        for row in self.todo():
            record = mine.get(row.cell.config_hash) or self.done(row.cell)
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
        id = self.end(row)
        about = Attempt(row.cell).about() | {"sweep": self.folder, "status": "failed"}
        with suppress(OSError):
            self.records.write(about | {"id": id or about["id"], "error": sentence})

    def end(self, row: Row) -> str | None:
        """Ends, in MLflow, the run that a dead process has left; the cell's id if there is one."""
        id = self.marks().get(row.cell.config_hash)
        if id is not None:
            mark = self.records.marked(id) or {}
            if mark.get("mlflow"):
                row.cell.build("logger").killed(mark["mlflow"])
            self.records.unmark(id)
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
