"""How much poison is left: every method against every attack, at one glance."""

from __future__ import annotations

import textwrap
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MultipleLocator, PercentFormatter

from antidote.report.benchmark.axes import counted, titled
from antidote.report.benchmark.canvas import Canvas, Picture, style
from antidote.report.benchmark.summary import PLACE, marks, single, spread
from antidote.report.words import in_order, look, rate

LEFT = "residual"
ATTACK = [*PLACE, "rate"]
SHOWN = (-0.6, 1.7)  # beyond, a value is written where it leaves the panel
ROW = 0.19  # inches of a method
WIDTH = 4.6


def glance(cells: pd.DataFrame) -> list[Picture]:
    """A panel per attack, a line per method; none where several shares of an attack are known."""
    told = cells[cells[LEFT].notna()]
    known = told.groupby(ATTACK, dropna=False)["discovered"].nunique()
    methods = in_order(told["defence"])
    if told.empty or known.max() > 1 or len(methods) < 3:
        return []
    runs = told.groupby([*ATTACK, "defence"], dropna=False, sort=False)
    rows = runs[LEFT].agg(list).reset_index()
    rows["marks"] = [marks(part) for _, part in runs]
    rows["hits"] = [single(part) for _, part in runs]
    panels = [
        partial(panel, rows=part, methods=methods, title=title(part.iloc[0]))
        for _, part in rows.groupby(ATTACK, dropna=False, sort=False)
    ]
    caption = (
        "What a method leaves of the poison: 1 − healed, as a share of what the victim had (dotted "
        "line, no unlearning); 0 is none. Large: the mean over seeds "
        f"({counted([len(v) for v in rows[LEFT]])}), with its 95 % interval (Student t; Wilson "
        "where a target is hit or missed) or, of two seeds, their range; faint: each seed. A "
        "method without a mark in a panel was not run there, or the attack was not learned. "
        "Arrows: beyond the panel. †: the method is made for known poison with wrong labels, and "
        "here they are true. ‡: all settings that were tried lost more than the floor allows, and "
        "the one that lost least was taken. In brackets: in some of the cells."
    )
    size = (WIDTH, 1.1 + ROW * len(methods))
    return [Picture("poison_left", "Poison that is left", caption, panels, size)]


def title(row: pd.Series) -> str:
    poison, dataset, model, setting = row[PLACE]
    share = rate(row["rate"]).replace(" ", "\u00a0")  # never broken
    text = f"{titled(poison, dataset, model, setting=setting)}, {share}"
    return textwrap.fill(text, 34)


def panel(figure: Canvas, rows: pd.DataFrame, methods: list[str], title: str) -> None:
    axis: Axes = figure.subplots()
    for mark in (0.0, 1.0):
        axis.axvline(mark, color="#555555", linewidth=1, linestyle=":" if mark else "-", zorder=1)
    for _, row in rows.iterrows():
        y, mean = methods.index(row["defence"]), sum(row[LEFT]) / len(row[LEFT])
        draw(axis, y, row[LEFT], row["defence"], row["hits"])
        if row["marks"]:
            x = min(max(mean, SHOWN[0]), SHOWN[1])
            axis.text(x, y - 0.2, row["marks"], fontsize=8, ha="center")
    axis.set_title(title, fontsize=9)
    axis.set(xlim=SHOWN, ylim=(len(methods) - 0.5, -0.5), xlabel="poison left")
    axis.xaxis.set_major_locator(MultipleLocator(0.5))
    axis.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axis.set_yticks(range(len(methods)), [look(m)["label"] for m in methods], fontsize=7.5)


def draw(axis: Axes, y: int, values: list[float], defence: str, hits: bool) -> None:
    how: dict[str, Any] = style(defence) | {"linestyle": ""}
    told = spread(values, hits)
    mean, n, half = told[""], len(values), told["_half"]
    low, high = told.get("_low", mean - half), told.get("_high", mean + half)
    axis.plot(values, [y] * n, **how | {"alpha": 0.3, "markersize": 0.6 * how["markersize"]})
    if n > 1:
        axis.plot([low, high], [y, y], color=how["color"], linewidth=1.2, zorder=3)
    axis.plot([mean], [y], **how | {"zorder": 4})
    for edge, beyond, arrow in ((0, mean < SHOWN[0], "◂ "), (1, mean > SHOWN[1], " ▸")):
        if beyond:
            text = f"{100 * mean:.0f} %"
            text = arrow + text if edge == 0 else text + arrow
            at: dict[str, Any] = {"ha": ("left", "right")[edge], "va": "center", "fontsize": 7}
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
            axis.text(SHOWN[edge], y, text, color=how["color"], bbox=box, zorder=5, **at)
