"""Which cells of a grid are done: a small file for each, named by the hash of its config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from filelock import FileLock

from antidote.disk import write


class Cell:
    """One cell below `output`/cells. Whoever holds `lock` may run it; a killed process frees it."""

    def __init__(self, output: str | Path, config_hash: str) -> None:
        self.path = Path(output) / "cells" / f"{config_hash}.json"
        self.mark = self.path.with_suffix(".failed")

    @property
    def lock(self) -> FileLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path.with_suffix(".lock"))

    def read(self) -> dict[str, Any] | None:
        """The result.json of the run that did it, with that run's `folder`; None if not done."""
        try:
            return json.loads(self.path.read_text())
        except (OSError, ValueError):
            return None

    def state(self) -> str:
        """done, failed (the last attempt, that is) or missing."""
        if self.read() is not None:
            return "done"
        return "failed" if self.mark.exists() else "missing"

    def record(self, result: dict[str, Any], folder: Path) -> None:
        write(self.path, json.dumps({**result, "folder": str(folder)}, indent=1))
        self.mark.unlink(missing_ok=True)

    def failed(self, sentence: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write(self.mark, sentence)
