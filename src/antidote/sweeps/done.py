"""Which cells are done, whichever sweep did them."""

from __future__ import annotations

from antidote.engine import source
from antidote.engine.attempt import tidy
from antidote.engine.cell import Cell, short_hash
from antidote.engine.left import lacks
from antidote.engine.records import Record, Records
from antidote.engine.store import Store
from antidote.engine.tracking import Tracker


class Done:
    """Looks at files, marks and trackers once: a grid asks of hundreds of cells."""

    def __init__(self, records: Records, store: Store) -> None:
        self.records, self.store = records, store
        self.data: dict[str, str | None] = {}
        self.trackers: dict[str, Tracker] = {}
        self.cut = {id for id, _ in records.marks() if records.lock(id).free()}

    def record(self, cell: Cell) -> Record | None:
        """Of a cell that is done and left all that is asked for now; else it is to be run."""
        found = self.fingerprint(cell) if cell.resumes else None
        record = None if found is None else self.records.read(cell.id(found))
        if record is None or record["status"] != "ok" or lacks(record, cell.settings):
            return None
        if record["id"] in self.cut:
            with self.records.lock(record["id"]):
                tidy(self.records, record["id"])
            record = self.records.read(record["id"]) or record
        return record if self.tracked(cell, record["mlflow"]) else None

    def fingerprint(self, cell: Cell) -> str | None:
        """Of the cell's data, if it can be had without reading them."""
        key = source.key_of(cell)
        if key not in self.data:
            self.data[key] = source.known(cell, self.store)
        return self.data[key]

    def tracked(self, cell: Cell, told: dict[str, str] | None) -> bool:
        """Whether MLflow has it, if it is asked for; MLflow takes a second to import."""
        asked = [cell.settings["logger"].get(k) for k in ("tracking_uri", "experiment_name")]
        if told and [told["uri"], told["experiment"]] == asked:
            return True
        return self.tracker(cell).holds(told)

    def tracker(self, cell: Cell) -> Tracker:
        key = short_hash(cell.settings["logger"])
        if key not in self.trackers:
            self.trackers[key] = cell.build("logger")
        return self.trackers[key]
