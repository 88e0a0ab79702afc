"""One record for each cell: the truth about what was run, how it ended and what it left.

<output>/records/<id>.json, sealed together with its id. Whatever is odd about a record (a changed
digit, a name that is not its id, half a file) makes the cell count as not done.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from antidote.engine.disk import Lock, as_json, me, write

log = logging.getLogger(__name__)
Record = dict[str, Any]


class Marks:
    """What is at work has a mark as long as it runs; a killed process leaves it behind."""

    what = "sweep"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def lock(self, id: str) -> Lock:
        """Whoever holds it is at work on it, or may be."""
        return Lock(self.folder / id, f"{self.what} {id}")

    def mark(self, id: str, **about: Any) -> None:
        write(self.folder / f"{id}.running", json.dumps(me() | about))

    def unmark(self, id: str) -> None:
        (self.folder / f"{id}.running").unlink(missing_ok=True)

    def marked(self, id: str) -> Record | None:
        """Who is at work on it, or was when killed."""
        try:
            return json.loads((self.folder / f"{id}.running").read_text())
        except (OSError, ValueError):
            return None

    def marks(self) -> Iterator[tuple[str, Record]]:
        """(id, mark) of all that are there."""
        for path in sorted(self.folder.glob("*.running")):
            mark = self.marked(path.stem)
            if mark is not None:
                yield path.stem, mark


class Records(Marks):
    """The records below a run's `output` folder."""

    what = "cell"

    def __init__(self, output: str | Path) -> None:
        super().__init__(Path(output).expanduser() / "records")

    def path(self, id: str) -> Path:
        return self.folder / f"{id}.json"

    def read(self, id: str) -> Record | None:
        """A sound record, done or failed."""
        path = self.path(id)
        try:
            record = json.loads(path.read_text())
            if record["id"] != id or record.pop("seal") != seal(record):
                raise ValueError("its seal does not match")
            return record
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s is damaged (%s): the cell counts as not done", path, error)
            return None

    def write(self, record: Record) -> None:
        """A failure never takes the place of a result."""
        if record["status"] != "ok":
            before = self.read(record["id"])
            if before is not None and before["status"] == "ok":
                return
        self.folder.mkdir(parents=True, exist_ok=True)
        write(self.path(record["id"]), as_json(record | {"seal": seal(record)}, indent=1))

    def unsent(self, id: str) -> None:
        """The process died when the result was on record, and perhaps not all of it in MLflow."""
        record = self.read(id)
        if record is not None and record["status"] == "ok" and record["mlflow"]:
            self.write(record | {"mlflow": None})

    def __iter__(self) -> Iterator[Record]:
        """All sound records, by id."""
        for path in sorted(self.folder.glob("*.json")):
            record = self.read(path.stem)
            if record is not None:
                yield record

    def state(self, id: str) -> str:
        """done, running, killed (by its last attempt), failed or missing."""
        record = self.read(id)
        if record is not None and record["status"] == "ok":
            return "done"
        if self.marked(id) is not None:
            return "killed" if self.lock(id).free() else "running"
        return "failed" if record is not None else "missing"


def seal(record: Record) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
