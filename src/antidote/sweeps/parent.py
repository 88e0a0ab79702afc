"""The run in MLflow that a sweep's jobs are children of."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

from antidote.core import BadInput
from antidote.engine import parent
from antidote.engine.attempt import commit
from antidote.engine.cell import Cell
from antidote.engine.disk import Lock
from antidote.engine.records import Marks
from antidote.engine.tracking import Tracker
from antidote.sweeps.axes import axes


class Parent:
    """There is one if a cell that is to be run is tracked, and if MLflow answers.

    As long as it runs there is a mark in `<output>/sweeps`, by which `tidy` finds it if its process
    is killed.
    """

    def __init__(self, folder: str, output: Path) -> None:
        self.folder, self.id, self.marks = folder, uuid.uuid4().hex, marks(output)
        self.tracker, self.lock = Tracker(), self.marks.lock(self.id)

    def start(self, cells: Sequence[Cell], todo: Iterable[Cell], note: str, **about: str) -> None:
        """`cells` are those of the grid. Raises `BadInput` where MLflow cannot take any run."""
        grid = axes([cell.overrides for cell in cells])
        trackers = (cell.build("logger") for cell in todo)
        self.tracker = next((t for t in trackers if t.place() is not None), self.tracker)
        if (place := self.tracker.place()) is not None:
            about |= {"sweep": self.folder, "commit": commit(), "attempt": self.id}
            spans = {f"grid.{key}": ", ".join(values) for key, values in grid.items()}
            told = {**spans, **about, "mlflow.note.content": note}
            self.lock.acquire()
            self.marks.mark(self.id, sweep=self.folder, mlflow={**place, "attempt": self.id})
            try:
                self.tracker.start(self.tracker.name or named(cells, grid), {}, told)
            except BadInput:
                self.forget()
                raise
            if self.tracker.where() is None:
                self.forget()
        parent.tell(self.folder, self.tracker.where(), list(grid))

    def finish(self, status: int, note: str, files: Iterable[Path]) -> None:
        """With the sweep's exit status. If MLflow is gone by now, it is left to `tidy`."""
        if self.tracker.where() is not None:
            self.tracker.end("FAILED" if status else "FINISHED", note, files)
            self.forget() if self.tracker.where() is not None else self.lock.release()

    def forget(self) -> None:
        forget(self.marks, self.id, self.lock)


def named(cells: Sequence[Cell], grid: Iterable[str]) -> str:
    """ "potion_small: poison_rate × unlearning, 84 jobs"."""
    option = cells[0].choices.get("experiment", "None")
    what = [option] if option != "None" else []
    axes = [" × ".join(grid) or "sweep"]
    return f"{': '.join(what + axes)}, {len(cells)} job{'s' * (len(cells) != 1)}"


def marks(output: Path) -> Marks:
    return Marks(output / "sweeps")


def tidy(output: Path) -> None:
    """Ends in MLflow the runs of sweeps whose process was killed; a silent server is asked once."""
    found, silent = marks(output), set()
    for id, mark in found.marks():
        told, lock = mark["mlflow"], found.lock(id)
        if told["uri"] in silent or not lock.free():
            continue
        lock.acquire()
        from antidote.engine.mlflow import Mlflow  # takes a second

        if Mlflow(told["uri"], told["experiment"], None).killed(told["attempt"]) is None:
            silent.add(told["uri"])
            lock.release()
        else:
            forget(found, id, lock)


def forget(marks: Marks, id: str, lock: Lock) -> None:
    """Of a sweep there is only one, so that nobody will ask for its lock again."""
    marks.unmark(id)
    lock.release()
    Path(lock.lock.lock_file).unlink(missing_ok=True)
