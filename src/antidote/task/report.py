"""Tables and figures of all that is done, or of one experiment's cells, from the records."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from antidote.core.checks import BadInput, require
from antidote.engine.cell import Cell, command
from antidote.engine.results import results
from antidote.report.benchmark.page import About
from antidote.report.benchmark.report import make
from antidote.report.terminal import tell
from antidote.sweeps.grid import cells, experiment, names_a_grid


def report(cfg: DictConfig, grid: Callable[[], Iterable[Cell]] = cells) -> None:
    """`python run.py task=report`: of an experiment's cells if one is named, else of all records.

    `grid` gives the cells of the sweep that the command line describes.
    """
    try:
        path = made(cfg, grid)
    except (BadInput, OmegaConfBaseException) as error:
        raise SystemExit(f"error: {' '.join(str(error).split())}") from None
    tell(f"report  {path}")


def made(cfg: DictConfig, grid: Callable[[], Iterable[Cell]]) -> Path:
    output = Path(cfg.output).expanduser()
    frame, source = results(output), f"{output}/records"
    # before the grid is composed, which takes a while
    require(
        len(frame) > 0 and bool((frame["status"] == "ok").any()),
        f"{source} holds no finished run yet; run an experiment first",
    )
    wanted = {cell.config_hash: cell.command for cell in grid()} if names_a_grid() else None
    about = About(title(), again(), source.replace(f"{HydraConfig.get().runtime.cwd}/", ""))
    return make(frame, wanted, about, output / "report")


def title() -> str:
    name = experiment()
    if name:
        return f"Experiment {name}"
    return "The cells of one sweep" if names_a_grid() else "All cells that are done"


def again() -> str:
    """The command line of this very report."""
    hydra = HydraConfig.get()
    typed = [o for o in hydra.overrides.task if not o.startswith("task=")]
    flag = ["-m"] if hydra.mode == RunMode.MULTIRUN else []
    return command([*flag, "task=report", *typed])
