"""One job of a sweep, as its closing table has it."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from antidote.engine.cell import Cell
from antidote.engine.records import Record
from antidote.engine.stop import sentence_of


@dataclass(eq=False)
class Row:
    """One job of the table: its record if it has one, and what became of it."""

    cell: Cell
    job: int | None = None
    record: Record | None = None
    status: str = "missing"
    error: str | None = None
    before: bool = False  # done before this sweep

    def told(self) -> dict[str, Any]:
        """For people: what the record says and what became of the job."""
        return {
            **(self.record or {}),
            "job": "" if self.job is None else str(self.job),
            "overrides": list(self.cell.overrides),
            "done_before": self.before,
            "status": self.status,
            "error": self.error,
        }


def own(cell: Cell) -> list[str]:
    """The overrides of a job that not all jobs of its sweep have; [] outside a sweep."""
    if cell.sweep is None:
        return []
    hydra = yaml.safe_load((Path(cell.sweep) / "multirun.yaml").read_text())["hydra"]
    planned = [f"{k}={v}" for k, v in (hydra["sweeper"]["params"] or {}).items()]
    said = OverridesParser.create().parse_overrides([*planned, *hydra["overrides"]["task"]])
    axis = {o.get_key_element(): o.is_sweep_override() for o in said}  # what is typed comes last
    return [override for override in cell.overrides if axis.get(override.partition("=")[0])]


def why(job: Any) -> str | None:
    """What a job raised, or left in its folder as its error: a result keeps its place on record."""
    try:
        _ = job.return_value
    except Exception as error:
        return sentence_of(error)
    with suppress(OSError, ValueError, KeyError, TypeError):
        left = Path(job.hydra_cfg.hydra.runtime.output_dir) / "result.json"
        return json.loads(left.read_text())["error"]
    return None
