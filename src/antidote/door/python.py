"""antidote from Python: runs, sweeps, their results, and the parts of a run by their names.

A call prints nothing and leaves the process as it was: arguments, folder, logging, and any other
Hydra program that it is called from. Bad input raises `BadInput`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from antidote.core import one_of, require
from antidote.door.place import begin
from antidote.door.session import logged, program, session, undisturbed
from antidote.door.words import axes, value, words
from antidote.engine import results as table
from antidote.engine.attempt import Attempt
from antidote.engine.cell import Cell
from antidote.engine.code import anew
from antidote.engine.labels import flat
from antidote.engine.parts import quiet
from antidote.engine.records import Record
from antidote.sweeps.change import parsed
from antidote.sweeps.row import Row
from antidote.task import run as one

QUIET = ["hydra/job_logging=none", "hydra/hydra_logging=none"]  # a process has its own
ABSENT = object()
ROWS = "hydra.sweeper._target_=hydra_plugins.antidote_plugins.RowsSweeper"


def run(overrides: Sequence[str] = (), /, **settings: Any) -> dict[str, Any]:
    """Runs one cell, as `antidote OVERRIDES` does, and returns its record (docs/results.md).

    Settings are overrides as well: `run(["dataset=digits"], seed=1, recipe={"epochs": 2})`.
    Raises whatever the run fails of.
    """
    said = [*QUIET, program(), "hydra.mode=RUN", *words(overrides, settings)]
    with session() as hydra:
        done = hydra.run("config", alone, said, with_log_configuration=False).return_value
    if isinstance(done, Exception):
        raise done
    return done


def alone(cfg: DictConfig) -> Record | Exception | None:
    """A run; an exception is returned, since Hydra prints the overrides of one that reaches it."""
    try:
        return job(cfg)
    except Exception as error:
        return error


def job(cfg: DictConfig) -> Record | None:
    """A run, or a job of a sweep in whichever process; None for a job that failed."""
    require("job" in cfg.task, "only task=run is run from Python; the other tasks print")
    hydra = HydraConfig.get()
    found: list[Record] = []
    log = Path(hydra.runtime.output_dir) / f"{hydra.job.name}.log"
    with logged(log), undisturbed(), anew():  # a worker of joblib outlives a sweep
        begin()
        one.run(cfg, show=found.append)
    return found[0] if found else None


def sweep(overrides: Sequence[str] = (), /, **settings: Any) -> pd.DataFrame:
    """Runs a grid, as `antidote -m OVERRIDES` does; one row per cell, in the grid's order.

    A setting that is a list is an axis: `sweep(["dataset=digits"], seed=[0, 1, 2])`. The columns
    are those of `results`, after the overrides that differ and are none of them. Cells that are
    done are not done again. One that fails has the `status` "failed" and an `error`.
    """
    said = [*QUIET, ROWS, program(), "hydra.mode=MULTIRUN", *axes(overrides, settings)]
    with session() as hydra:
        return frame(hydra.multirun("config", job, said, with_log_configuration=False))


def frame(rows: Sequence[Row]) -> pd.DataFrame:
    """A table of a sweep's jobs."""
    told = [
        table.row(row.record or never(row)) | {"status": row.status, "error": row.error}
        for row in rows
    ]
    typed = [{o.key_or_group: o.value() for o in map(parsed, row.cell.overrides)} for row in rows]
    first, keys = typed[0], {key: None for settings in typed for key in settings}
    differ = [k for k in keys if k not in told[0] and any(t.get(k) != first.get(k) for t in typed)]
    return pd.DataFrame(
        [{k: t.get(k) for k in differ} | row for t, row in zip(typed, told, strict=True)]
    )


def never(row: Row) -> Record:
    """What there is to say of a cell that was never run, as with resume=failed."""
    return Attempt(row.cell).about() | {"folder": None, "began": None, "ended": None}


def results(output: str | Path = "multirun") -> pd.DataFrame:
    """The records of all cells below `output`, oldest first, one row each (docs/results.md)."""
    require(
        (Path(output).expanduser() / "records").is_dir(),
        f"{output} holds no records; run something first, or name the output of what was run",
    )
    return table.results(output)


def build(
    group: str, option: str | float, overrides: Sequence[str] = (), /, **settings: Any
) -> Any:
    """A part of a run by its name: `build("unlearning", "xlf_ptn", rho=0.3)`.

    Settings are the part's own, nested ones as dicts or by their path: `method={"power": 2}` or
    `**{"method.power": 2}`. `overrides` are of the whole configuration, from which the part takes
    the seed, the recipe and what else it refers to. What needs more than settings, as a model does,
    comes as a factory.
    """
    said = words([f"{group}={value(option)}", *overrides], {})
    quiet()
    with session() as hydra:
        one_of("group", group, hydra.config_loader.list_groups(""))
        cfg = hydra.compose_config("config", said, RunMode.RUN)
        HydraConfig.instance().set_config(cfg)
        part = cfg.get(group)
        require(
            OmegaConf.is_dict(part) and "_target_" in part,
            f"{group}={option} is a setting of other parts, and builds nothing",
        )
        for name, thing in flat(settings).items():
            absent = OmegaConf.select(part, name, default=ABSENT) is ABSENT
            there = ", ".join(key for key in part if not key.startswith("_"))
            require(not absent, f"{group}={option} has no setting {name}; it has {there}")
            OmegaConf.update(part, name, thing)
        settled: Any = OmegaConf.to_container(part, resolve=True)
        return Cell({group: settled}, {}, {}, ()).build(group)
