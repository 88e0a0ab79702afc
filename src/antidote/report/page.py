"""The report's page: one file that opens from disk and asks the network for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from antidote.report import words
from antidote.report.canvas import Picture
from antidote.report.summary import HARM, LEARNED, unlearnable


def render(
    cells: pd.DataFrame,
    summary: pd.DataFrame,
    methods: pd.DataFrame,
    gaps: Sequence[dict[str, Any]],
    pictures: Sequence[Picture],
    papers: Sequence[dict[str, Any]],
    about: dict[str, Any],
) -> str:
    """The page; `gaps` are cells without a result, `about` says what the report is of."""
    template = environment().get_template("page.html.j2")
    return template.render(
        cells=cells.assign(weak=unlearnable(cells)).to_dict("records"),
        summary=grouped(summary),
        methods=grouped(methods),
        gaps=gaps,
        pictures=pictures,
        papers=papers,
        about=about,
        facts=facts(cells),
    )


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
        "seconds": words.seconds,
        "word": words.word,
        "method": lambda name: words.look(name)["label"],
        "colour": lambda name: words.look(name)["colour"],
        "points": points,
    }
    made.globals["half"] = half
    return made


def points(value: float) -> str:
    """A difference of two percentages."""
    return words.percent(value).removesuffix(" %")


def half(row: dict[str, Any], measure: str) -> str:
    """The interval's half width as "± 1.2", empty if there is none."""
    value = row[f"{measure}_half"]
    return "" if words.missing(value) else f"± {100 * value:.1f}"


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
    return {
        "cells": len(cells),
        "victims": len(
            cells.drop_duplicates(["poison", "dataset", "model", "setting", "rate", "seed"])
        ),
        "seeds": cells["seed"].nunique(),
        "commits": sorted(set(cells["commit"]) - {""}),
        "weak": int(unlearnable(cells).sum()),
        "learned": words.percent(LEARNED, 0),
        "harm": words.percent(HARM, 0),
        "undefined": int(cells["healed"].isna().sum()),
    }
