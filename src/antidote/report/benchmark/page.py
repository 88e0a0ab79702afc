"""The report's page: one file that opens from disk and asks the network for nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from antidote.metrics.score import LEAST
from antidote.metrics.table import Metric, shown
from antidote.report import words
from antidote.report.benchmark.canvas import Picture
from antidote.report.benchmark.summary import (
    LEARNED,
    had,
    marked,
    marks,
    traced,
    unlearnable,
)


@dataclass(frozen=True)
class About:
    """What a report is of, for its reader.

    `command`: what wrote it; `source`: where the records are; `note`: what else must be known
    before the figures are read, a paragraph each.
    """

    title: str
    command: str
    source: str
    note: Sequence[str] = ()
    time: str = field(default_factory=lambda: f"{datetime.now():%Y-%m-%d %H:%M}")


def render(
    cells: pd.DataFrame,
    summary: pd.DataFrame,
    methods: pd.DataFrame,
    gaps: Sequence[dict[str, Any]],
    pictures: Sequence[Picture],
    papers: Sequence[dict[str, Any]],
    about: About,
    wanted: int | None,
) -> str:
    """The page; `gaps` are cells without a result, `wanted` is the size of the grid, if one is."""
    template = environment().get_template("page.html.j2")
    return template.render(
        cells=each(cells),
        summary=grouped(summary),
        methods=grouped(methods),
        gaps=gaps,
        pictures=pictures,
        papers=papers,
        about=about,
        wanted=wanted,
        facts=facts(cells),
        shown=partial(shown, had=had(cells)),
    )


def each(cells: pd.DataFrame) -> list[dict[str, Any]]:
    """The cells as rows of the last table."""
    told = [of.map({True: mark, False: ""}) for mark, of in marked(cells).items()]
    return cells.assign(weak=unlearnable(cells), marks=sum(told[1:], told[0])).to_dict("records")


def environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "percent": words.percent,
        "rate": words.rate,
        "word": words.word,
        "method": lambda name: words.look(name)["label"],
        "tracer": lambda name: words.tracer(name)["label"],
        "colour": lambda name: words.look(name)["colour"],
        "figure": figure,
    }
    made.globals |= {"half": half, "head": head}
    return made


def figure(value: float | None, metric: Metric, digits: int = 1) -> str:
    """A value in its unit; a dash where it has no meaning."""
    if metric.unit == "seconds":
        return words.seconds(value)
    if metric.unit == "number":
        return "–" if value is None or words.missing(value) else f"{value:g}"
    told = words.percent(value, digits)
    return told.removesuffix(" %") if metric.unit == "points" else told


def head(metric: Metric, name: str = "") -> str:
    """Of a column: name, unit where it is not in the figures, and which way is good."""
    unit = {"points": ", points", "seconds": ""}.get(metric.unit, "")
    arrow = f"\u00a0{metric.arrow}" if metric.arrow else ""  # never on a line of its own
    return f"{name or metric.label}{unit}{arrow}"


def half(row: dict[str, Any], metric: Metric) -> str:
    """The interval's half width as "± 1.2", its bounds as "41 to 93", empty if there is none."""
    value, low, high = (
        row.get(f"{metric.name}_{end}", math.nan) for end in ("half", "low", "high")
    )
    if not words.missing(low):
        return f"{100 * low:.0f} to {100 * high:.0f}"
    if metric.unit not in ("share", "points") or words.missing(value):
        return ""
    return f"± {100 * value:.1f}"


def grouped(table: pd.DataFrame) -> list[tuple[str, list[dict[str, Any]]]]:
    """(title, rows) of each poison, place and rate, as far as the table tells them apart."""
    names = [c for c in ("poison", "dataset", "model", "setting", "rate") if c in table]
    found = []
    for keys, part in table.groupby(names, sort=False, dropna=False):
        of = dict(zip(names, keys, strict=True))
        told = [words.word(of[c]) for c in ("poison", "dataset", "model") if c in of]
        told += [of["setting"]] if of["setting"] else []
        told += [f"{words.rate(of['rate'])} poisoned"] if "rate" in of else []
        found.append((", ".join(told), part.to_dict("records")))
    return found


def facts(cells: pd.DataFrame) -> dict[str, Any]:
    """What a reader must know before the figures."""
    victims = ["poison", "dataset", "model", "setting", "rate", "seed"]
    return {
        "cells": len(cells),
        "victims": len(cells.drop_duplicates(victims)),
        "seeds": cells["seed"].nunique(),
        "commits": sorted(set(cells["commit"].dropna()) - {""}),
        "attacked": int((cells["n_poisoned"] > 0).sum()),
        "told": int(cells["attack_success_before"].notna().sum()),
        "weak": int(unlearnable(cells).sum()),
        "learned": words.percent(LEARNED, 0),
        "harm": f"{100 * LEAST:g} percentage point",
        "traced": traced(cells),
        "marks": marks(cells),
        "undefined": int(cells["healed"].isna().sum()),
    }
