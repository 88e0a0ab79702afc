"""How things stand, as a table or as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from rich.box import SIMPLE_HEAD
from rich.table import Table

from antidote.report.terminal import plain, tell
from antidote.sweeps.status import State

ORDER = ("done", "failed", "killed", "running", "missing")
MOST = 20  # missing cells that are listed


def show_status(states: Sequence[State]) -> None:
    """Every cell that failed, was killed or is at work, some that are missing; then all counts."""
    count = Counter(state.status for state in states)
    listed = [s for s in states if s.status not in ("done", "missing")]
    missing = [s for s in states if s.status == "missing"]
    rows = [*listed, *missing[:MOST]]
    if rows:
        tell(table(rows))
    if len(missing) > MOST:
        tell(f"and {len(missing) - MOST} more are missing; json=true lists all")
    tell(f"{len(states)} cells: " + ", ".join(f"{count[name]} {name}" for name in ORDER))


def table(states: Sequence[State]) -> Table:
    made = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("cell", "status", ""):
        made.add_column(column, overflow="fold")
    for state in states:
        made.add_row(*map(plain, (state.name, state.status, state.detail)))
    return made


def as_json(states: Sequence[State]) -> str:
    """{"counts": {status: n}, "cells": [...]}."""
    count = Counter(state.status for state in states)
    counts = {name: count[name] for name in ORDER}
    return json.dumps({"counts": counts, "cells": list(map(asdict, states))}, indent=1)
