"""Tables and figures of all that is done, or of one experiment's cells, from MLflow's store."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from antidote import grid
from antidote.checks import BadInput, require
from antidote.config import ELSEWHERE, identity
from antidote.disk import write
from antidote.report import costs, curves, page, papers, store, tables
from antidote.report.canvas import Picture
from antidote.report.gaps import missing
from antidote.report.setting import variants
from antidote.report.summary import aggregate, meaningful, ordered, summarise


def report(cfg: DictConfig) -> None:
    """`python run.py task=report`: of an experiment's cells if one is named, else of the store."""
    try:
        path = make(cfg, wanted(cfg))
    except BadInput as error:
        raise SystemExit(f"error: {error}") from None
    print(f"report  {path}")


def wanted(cfg: DictConfig) -> dict[str, str] | None:
    """{hash: command} of the grid's cells; None if the command line names no grid."""
    require_store(cfg)  # before the grid is composed, which takes a while
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN and hydra.runtime.choices.get("experiment") is None:
        return None
    with grid.composer() as compose:
        return {identity(compose(job))["config_hash"]: grid.command(job) for job in grid.cells()}


def of_jobs(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """{hash: command} of a sweep's jobs; only killed ones left no hash and are composed again."""
    with grid.composer() as compose:
        return {
            row.get("config_hash") or identity(compose(row["overrides"]))["config_hash"]: (
                grid.command(row["overrides"])
            )
            for row in rows
        }


def require_store(cfg: DictConfig) -> None:
    require(
        bool(cfg.logger),
        "task=report reads what MLflow has recorded; choose logger=mlflow in place of logger=none",
    )


def make(cfg: DictConfig, cells: Mapping[str, str] | None) -> Path:
    """Writes the report of the cells {hash: command}, or of all in the store; the page's path."""
    require_store(cfg)
    quiet()
    runs = store.read_runs(cfg.logger.tracking_uri, cfg.logger.experiment_name)
    require(
        len(runs) > 0 and bool((runs["status"] == "FINISHED").any()),
        f"{cfg.logger.tracking_uri} holds no finished run yet; run an experiment first",
    )
    done, gaps = store.finished(runs), missing(runs, cells)
    if cells is not None:
        done = done[done["config_hash"].isin(set(cells))]
        require(
            len(done) > 0,
            f"none of the {len(cells)} cells has a finished run in {cfg.logger.tracking_uri}",
        )
    about = {
        "title": title(cells),
        "wanted": None if cells is None else len(cells),
        "store": cfg.logger.tracking_uri.replace(f"{HydraConfig.get().runtime.cwd}/", ""),
        "command": again(),
        "time": f"{datetime.now():%Y-%m-%d %H:%M}",
    }
    return leave(Path(cfg.output) / "report", done, gaps, about)


def leave(folder: Path, done: pd.DataFrame, gaps: Sequence[dict], about: dict[str, Any]) -> Path:
    """All files of the report; index.html is last."""
    cells = ordered(variants(meaningful(done), (*ELSEWHERE, "flags")))
    summary, methods = summarise(cells), aggregate(cells)
    pictures = drawn(cells, summary, methods)
    published = papers.beside(cells, methods)
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, str | bytes] = {
        "cells.csv": tables.csv(cells, tables.COLUMNS),
        "summary.csv": tables.csv(summary),
        "methods.csv": tables.csv(methods),
        "missing.csv": tables.csv(
            pd.DataFrame(gaps, columns=["state", "cell", "error", "command"])
        ),
        "summary.tex": tables.summary_tex(summary),
        "methods.tex": tables.methods_tex(methods),
    }
    for picture in pictures:
        files |= picture.files()
    files["index.html"] = page.render(cells, summary, methods, gaps, pictures, published, about)
    for name, content in files.items():
        write(folder / name, content)
    return folder / "index.html"


def drawn(cells: pd.DataFrame, summary: pd.DataFrame, methods: pd.DataFrame) -> list[Picture]:
    return [
        *curves.discovery(summary),
        *costs.plane(cells, methods),
        *costs.seconds(cells),
        *curves.width(cells),
    ]


def title(cells: Mapping[str, str] | None) -> str:
    name = HydraConfig.get().runtime.choices.get("experiment")
    return (
        f"Experiment {name}"
        if name
        else "All cells of the store"
        if cells is None
        else "The cells of one sweep"
    )


def again() -> str:
    """The command line of this very report."""
    hydra = HydraConfig.get()
    typed = [o for o in hydra.overrides.task if not o.startswith("task=")]
    flag = ["-m"] if hydra.mode == RunMode.MULTIRUN else []
    return grid.command([*flag, "task=report", *typed])


def quiet() -> None:
    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
