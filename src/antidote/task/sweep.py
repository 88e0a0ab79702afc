"""What `python run.py -m` does with a grid, from Hydra's sweeper to the closing table."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.plugins.launcher import Launcher
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from antidote.core import BadInput
from antidote.engine.attempt import STOPPED, Terminated, terminable, tried
from antidote.engine.cell import bad_input, command
from antidote.report.run.note import begun_note, sweep_note
from antidote.report.run.terminal import address, show_sweep
from antidote.report.terminal import tell
from antidote.sweep.grid import as_written, cells
from antidote.sweep.parent import Parent, tidy
from antidote.sweep.row import Row
from antidote.sweep.run import Sweep, exclusive

log = logging.getLogger(__name__)


def sweep(config: DictConfig, make_launcher: Callable[[], Launcher]) -> None:
    """Runs the grid, tells, and ends the process: status 1 if a job did not reach its end.

    A task that looks at a grid as a whole, such as task=plan, is done once instead.
    """
    HydraConfig.instance().set_config(config)
    try:
        if "job" not in config.task:
            return once(config)
        found = cells()
        running = Sweep(place(config), found, launch(config, make_launcher))
        running.skip()
        parent = begun(running, config)
    except (BadInput, OmegaConfBaseException) as error:
        raise SystemExit(f"error: {' '.join(str(bad_input(error) or error).split())}") from None
    status, page = carried_out(running), None
    leave(running)
    rows = [row.told() for row in running.rows]
    show_sweep(rows, Path(running.folder))
    if status in STOPPED.values():
        tell("stopped; type the same command again to go on")
    elif running.launched:
        page = report(running, config)
        status = status if page else 1
    tried(lambda: ended(parent, status, partial(sweep_note, rows, typed(config)), page))
    sys.exit(status)


def begun(running: Sweep, config: DictConfig) -> Parent:
    """The jobs' parent in MLflow, if there is anything to do."""
    parent, todo = Parent(running.folder, running.output), [row.cell for row in running.todo()]
    tried(lambda: tidy(running.output))
    done = len(running.rows) - len(todo)
    log.info("%d jobs: %d done before, %d to do", len(running.rows), done, len(todo))
    if todo:
        about = {"command": typed(config), "done_before": str(done)}
        cells = [row.cell for row in running.rows]
        try:
            parent.start(cells, todo, begun_note(len(cells), done, typed(config)), **about)
        except OSError as error:
            log.warning("the sweep has no run of its own in MLflow: %s", error)
    return parent


def ended(parent: Parent, status: int, note: Callable[..., str], page: Path | None) -> None:
    where, whole = parent.tracker.where(), Path(parent.folder) / "multirun.yaml"
    parent.finish(status, note(where), [whole, *([] if page is None else [page.parent])])
    if where is not None:
        tell(f"MLflow  {address(where)}")


def once(config: DictConfig) -> None:
    cfg = config.copy()
    with open_dict(cfg):
        del cfg["hydra"]
    (task,) = instantiate(cfg.task).values()
    task(cfg)


def place(config: DictConfig) -> str:
    """The sweep's folder; one that nobody named is made anew, and handed to the jobs by name."""
    folder = str(config.hydra.sweep.dir)
    said = as_written(config.hydra.overrides.hydra)
    if not any(o.startswith("hydra.sweep.dir=") for o in said):
        folder = exclusive(folder)
        with open_dict(config):
            OmegaConf.set_readonly(config.hydra, False)
            quoted = QuotedString(text=folder, quote=Quote.single).with_quotes()
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted}")
            config.hydra.sweep.dir = folder
    Path(folder).mkdir(parents=True, exist_ok=True)
    return folder


def launch(config: DictConfig, make_launcher: Callable[[], Launcher]) -> Any:
    """The launcher is made when there is something to launch."""

    def launched(jobs: Any, first: int) -> Any:
        OmegaConf.save(config, Path(config.hydra.sweep.dir) / "multirun.yaml")
        return make_launcher().launch(jobs, initial_job_idx=first)

    return launched


def carried_out(running: Sweep) -> int:
    """Exit status."""
    try:
        with terminable():
            running.run()
    except (KeyboardInterrupt, Terminated) as stop:
        running.stopped()
        return STOPPED[type(stop)]
    return 0 if all(row.status == "ok" for row in running.rows) else 1


def leave(running: Sweep) -> None:
    """Pictures, which would hold up the jobs."""
    for row in running.rows:
        if row.record and not row.before and row.status == "ok" and row.cell.settings["pictures"]:
            tried(partial(pictures, row))


def report(running: Sweep, config: DictConfig) -> Path | None:
    """Of the grid's cells, whichever sweep did them; beside this sweep's jobs."""
    from antidote.engine.results import results  # pandas
    from antidote.report.benchmark.report import close

    wanted = {row.cell.config_hash: row.cell.command for row in running.rows}
    return close(results(running.output), wanted, Path(running.folder), typed(config))


def typed(config: DictConfig) -> str:
    return command(["-m", *as_written(config.hydra.overrides.task)])


def pictures(row: Row) -> None:
    from antidote.report.run.pictures import draw  # matplotlib

    record = row.record or {}
    made = draw(Path(record["folder"]))
    if record["mlflow"]:
        row.cell.build("logger").attach(record["mlflow"]["run_id"], made)
