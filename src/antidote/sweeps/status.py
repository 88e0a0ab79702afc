"""How things stand: what is done, failed, running or missing; nothing is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from antidote.engine import source
from antidote.engine.cell import Cell
from antidote.engine.records import Record, Records
from antidote.engine.store import Store
from antidote.sweeps.axes import axes, parted


@dataclass(frozen=True)
class State:
    """`status`: done, failed, killed, running or missing. `detail`: why, or since when and where.

    `name`: what tells the cell from the others; `command`: what to type to run it.
    """

    id: str
    name: str
    status: str
    detail: str
    folder: str | None
    command: str


def of_grid(cells: Sequence[Cell]) -> list[State]:
    """Of the cells of a grid, each once."""
    records = Records(cells[0].output)
    store = Store(cells[0].settings["store"], "on")
    otherwise = {r["config_hash"] for r in records if r["status"] == "ok"}
    names = varied([cell.overrides for cell in cells])
    found: dict[str, State] = {}
    for cell, name in zip(cells, names, strict=True):
        data = source.known(cell, store)
        unread = f"unread-{cell.config_hash}"
        id = cell.id(data) if data else unread
        status = records.state(id)
        if status == "missing" and records.state(unread) == "failed":
            id, status = unread, "failed"
        told = detail(records, id, status)
        if status == "missing" and cell.config_hash in otherwise:
            told = "done before, with other code or other data"
        record = records.read(id)
        folder = record["folder"] if record else None
        found.setdefault(id, State(id, name, status, told, folder, cell.command))
    return list(found.values())


def of_all(records: Records) -> list[State]:
    """Of all that was run below an output folder."""
    return list(listed(records))


def listed(records: Records) -> Iterator[State]:
    read = {r["id"]: r for r in records}
    for id in sorted({*read, *(id for id, _ in records.marks())}):
        record: Mapping[str, Any] = read.get(id, {})
        status, command = records.state(id), str(record.get("command", ""))
        name = command.removeprefix("python run.py ") or id
        yield State(id, name, status, detail(records, id, status), record.get("folder"), command)


def detail(records: Records, id: str, status: str) -> str:
    if status == "failed":
        record: Record = records.read(id) or {}
        return str(record.get("error", "")).strip().rpartition("\n")[2]
    if status in ("running", "killed"):
        mark = records.marked(id) or {}
        return f"since {mark.get('since')}, process {mark.get('pid')} on {mark.get('host')}"
    return ""


def varied(jobs: Sequence[Sequence[str]]) -> list[str]:
    """Of each job the overrides that not all jobs have."""
    keys = axes(jobs)
    return [" ".join(o for o in job if parted(o)[0] in keys) or "the only cell" for job in jobs]
