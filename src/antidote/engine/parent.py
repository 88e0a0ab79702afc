"""The run in MLflow that the jobs of a sweep are children of.

Jobs may be other processes, on other machines: they learn of it from a file in the sweep's folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from antidote.engine.disk import write
from antidote.engine.tracking import Tracker

NAME = "parent.json"


def tell(sweep: str, where: Mapping[str, str] | None, axes: Sequence[str]) -> None:
    """Where the parent is, and the keys of the overrides that differ between jobs; or of none."""
    path = Path(sweep) / NAME
    path.unlink(missing_ok=True)  # that of an earlier sweep in the same folder
    if where is not None:
        write(path, json.dumps({**where, "axes": list(axes)}))


def parent_of(sweep: str | None, tracker: Tracker) -> dict[str, Any] | None:
    """`run_id` and `axes` of a job's sweep, if its parent is where this tracker writes."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads((Path(sweep or "") / NAME).read_text())
        return told if sweep and tracker.holds(told) else None
    return None
