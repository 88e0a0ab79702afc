"""Where a run is tracked besides its record; here nowhere, and without an import of MLflow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn


class Tracker:
    """Writes nowhere: `logger=none`."""

    uri: str = ""
    name: str | None = None  # that somebody gave to the run
    run_id: str | None = None

    def prepare(self) -> None:
        """Makes the store ready, before the first writer; raises `BadInput` if it cannot be."""

    def start(
        self,
        name: str,
        settings: Mapping[str, Any],
        tags: Mapping[str, str],
        files: Iterable[Path] = (),
    ) -> None: ...
    def series(self, rows: Sequence[Mapping[str, Any]], first: int = 0) -> None: ...
    def finish(
        self, record: Mapping[str, Any], files: Iterable[Path], note: str, net: nn.Module | None
    ) -> None:
        """All of a record, and the unlearned net if it is to be kept; then the run is finished."""

    def fail(self, sentence: str, files: Iterable[Path], note: str) -> None: ...
    def end(self, status: str, note: str, files: Iterable[Path]) -> None: ...
    def attach(self, run_id: str, files: Iterable[Path]) -> None: ...
    def holds(self, told: Mapping[str, Any] | None) -> bool:
        """Whether the run that a record tells of is where this tracker writes."""
        return True

    def place(self) -> dict[str, str] | None:
        """Where runs are written, whether there is one by now or not."""
        return None

    def where(self) -> dict[str, str] | None:
        """What a record says of its run here."""
        return None
