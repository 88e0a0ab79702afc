"""A report: tables and figures of cells, as one page with its files beside it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from antidote.core.checks import BadInput, require
from antidote.engine.disk import write
from antidote.report.benchmark import cells as records_of
from antidote.report.benchmark import costs, curves, left, page, papers, tables, traces
from antidote.report.benchmark.canvas import Picture
from antidote.report.benchmark.page import About
from antidote.report.benchmark.setting import variants
from antidote.report.benchmark.summary import aggregate, defended, ordered, summarise
from antidote.report.terminal import tell

log = logging.getLogger(__name__)
OURS = ("discovery_", "poison_left", "seconds_", "tracing", "trade_off", "width")  # figures' names
Wanted = Mapping[str, str] | None


def make(frame: pd.DataFrame, wanted: Wanted, about: About, folder: Path) -> Path:
    """Writes the report of the cells {config_hash: command}, or of all; the page's path.

    `frame` is a table of `engine.results`. BadInput if no cell has a result.
    """
    done, gaps = records_of.finished(frame), records_of.gaps(frame, wanted)
    require(len(done) > 0, f"{about.source} holds no finished run yet; run an experiment first")
    if wanted is not None:
        done = done[done["config_hash"].isin(set(wanted))]
        require(
            len(done) > 0,
            f"none of the {len(wanted)} cells has a finished run in {about.source}",
        )
    return leave(folder, done, gaps, about, None if wanted is None else len(wanted))


def close(frame: pd.DataFrame, wanted: Wanted, folder: Path, command: str = "") -> Path | None:
    """The report of a sweep's cells, beside its jobs; says where it is.

    None, and a sentence in the log, if there is none: it never hides what the sweep has found.
    """
    about = About("The cells of one sweep", command or "a sweep at its end", str(folder))
    try:
        path = make(frame, wanted, about, folder / "report")
    except Exception as error:
        name = "" if isinstance(error, BadInput) else f"{type(error).__name__}: "
        log.error("no report: %s%s", name, " ".join(str(error).split()))
        log.debug("no report", exc_info=True)
        return None
    tell(f"report  {path}")
    return path


def leave(
    folder: Path,
    done: pd.DataFrame,
    gaps: Sequence[dict[str, str]],
    about: About,
    wanted: int | None,
) -> Path:
    """All files of the report; index.html is last."""
    cells = ordered(variants(done))
    summary, methods = summarise(cells), aggregate(cells)
    pictures = drawn(cells, summary, methods)
    published = papers.beside(cells, methods)
    missing = pd.DataFrame(gaps, columns=["state", "cell", "error", "command"])
    files: dict[str, Any] = {
        "cells.csv": tables.cells_csv(cells),
        "summary.csv": tables.means_csv(summary),
        "methods.csv": tables.means_csv(methods),
        "missing.csv": tables.csv(missing),
        "summary.tex": tables.summary_tex(summary),
        "methods.tex": tables.methods_tex(methods),
    }
    for picture in pictures:
        files |= picture.files()
    shown = cells, summary, methods, gaps, pictures, published
    files["index.html"] = page.render(*shown, about, wanted)
    folder.mkdir(parents=True, exist_ok=True)
    clear(folder, files)
    for name, content in files.items():
        write(folder / name, content)
    return folder / "index.html"


def drawn(cells: pd.DataFrame, summary: pd.DataFrame, methods: pd.DataFrame) -> list[Picture]:
    cells, summary, methods = map(defended, (cells, summary, methods))
    return [
        *left.glance(cells),
        *traces.found(cells),
        *curves.discovery(summary),
        *costs.plane(cells, methods),
        *costs.seconds(cells),
        *curves.width(cells),
    ]


def clear(folder: Path, kept: Iterable[str]) -> None:
    """Figures of an earlier report in the same folder go, if they are none of this one."""
    for svg in folder.glob("*.svg"):
        png = svg.with_suffix(".png")
        ours = svg.stem.startswith(OURS)
        if ours and svg.name not in kept and png.exists():
            svg.unlink()
            png.unlink()
