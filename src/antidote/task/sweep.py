"""What `python run.py -m` does with a grid, from Hydra's sweeper to the closing table."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import InstantiationException
from hydra.plugins.launcher import Launcher
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from antidote.core import BadInput, require
from antidote.engine.attempt import tried
from antidote.engine.cell import Cell, bad_input, command
from antidote.engine.stop import STOPPED, Terminated, terminable
from antidote.report.run.note import begun_note, sweep_note
from antidote.report.run.terminal import address, show_sweep
from antidote.report.terminal import tell
from antidote.sweeps.grid import as_written, cells
from antidote.sweeps.order import order
from antidote.sweeps.parent import Parent, tidy
from antidote.sweeps.row import Row
from antidote.sweeps.run import LEFT_OUT, Launch, Sweep, exclusive
from antidote.sweeps.watch import watched
from hydra_plugins.antidote_plugins._parallel import Parallel

log = logging.getLogger(__name__)


def sweep(config: DictConfig, make_launcher: Callable[[], Launcher]) -> None:
    """Runs the grid, tells, and ends the process: status 1 if a job did not reach its end.

    A task that looks at a grid as a whole, such as task=plan, is done once instead.
    """
    HydraConfig.instance().set_config(config)
    try:
        if "job" not in config.task:
            return once(config)
        running = begun(config, make_launcher)
        parent = adopted(running, config)
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
    where = parent.tracker.where()
    tried(lambda: ended(parent, status, partial(sweep_note, rows, typed(config)), page))
    if where:
        tell(f"MLflow  {address(where)}")
    sys.exit(status)


def rows(config: DictConfig, make_launcher: Callable[[], Launcher]) -> list[Row]:
    """The same for a call from Python: nothing is printed, and what stops the sweep is raised."""
    HydraConfig.instance().set_config(config)
    require("job" in config.task, "only task=run is swept from Python; the other tasks print")
    running = begun(config, make_launcher)
    parent, status = adopted(running, config), 1
    try:
        run_all(running)
        status = status_of(running)
    finally:
        leave(running)
        note = partial(sweep_note, [row.told() for row in running.rows], typed(config))
        tried(lambda: ended(parent, status, note, None))
    return running.rows


def begun(config: DictConfig, make_launcher: Callable[[], Launcher]) -> Sweep:
    """The grid's jobs, none of which is started yet; those that are done are skipped."""
    launched, found = launch(config, make_launcher), cells()
    running = Sweep(place(config), found, launched)
    running.skip()
    return running


def adopted(running: Sweep, config: DictConfig) -> Parent:
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
    whole = Path(parent.folder) / "multirun.yaml"
    files = [whole, *([] if page is None else [page.parent])]
    parent.finish(status, note(parent.tracker.where()), files)


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


def launch(config: DictConfig, make_launcher: Callable[[], Launcher]) -> Launch:
    """What runs cells with the launcher that is asked for; refuses one that cannot be had."""
    try:
        make_launcher()
    except InstantiationException as error:
        raise bad_input(error) or error from None

    def launched(cells: Sequence[Cell], first: int) -> Sequence[Any]:
        OmegaConf.save(config, Path(config.hydra.sweep.dir) / "multirun.yaml")
        launcher = make_launcher()  # anew: only now the sweep has a folder
        if isinstance(launcher, Parallel):
            launcher.order = order(cells)
        return launcher.launch([cell.overrides for cell in cells], initial_job_idx=first)

    return launched


def carried_out(running: Sweep) -> int:
    """Exit status."""
    try:
        run_all(running)
    except (KeyboardInterrupt, Terminated) as stop:
        return STOPPED[type(stop)]
    return status_of(running)


def status_of(running: Sweep) -> int:
    return 0 if all(row.status in ("ok", LEFT_OUT) for row in running.rows) else 1


def run_all(running: Sweep) -> None:
    """All jobs that are not done; Ctrl-C and SIGTERM are raised when what they left is known."""
    try:
        with terminable(), shown(running):
            running.run()
    except (KeyboardInterrupt, Terminated):
        running.stopped()
        raise


def shown(running: Sweep) -> AbstractContextManager[None]:
    asked = running.rows[0].cell.settings["progress"] and running.todo()
    return watched(running.folder, len(running.todo())) if asked else nullcontext()


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
