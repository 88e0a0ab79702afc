"""`python run.py task=status experiment=...`: how a grid stands, or all that was run."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from antidote.core.checks import BadInput
from antidote.engine.records import Records
from antidote.report.status import as_json, show_status
from antidote.report.terminal import tell
from antidote.sweeps.grid import cells, names_a_grid
from antidote.sweeps.status import of_all, of_grid


def status(cfg: DictConfig) -> None:
    """Of the grid that the command line describes, if it names one; else of all records."""
    try:
        found = of_grid(cells()) if names_a_grid() else of_all(Records(Path(cfg.output)))
    except (BadInput, OmegaConfBaseException) as error:
        raise SystemExit(f"error: {' '.join(str(error).split())}") from None
    if cfg.json:
        tell(as_json(found))
    else:
        show_status(found)
