"""What tracers find of the hidden poison, whatever method gets it."""

from __future__ import annotations

import textwrap
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from antidote.report.benchmark.axes import counted
from antidote.report.benchmark.canvas import Canvas, Picture, tracer_style
from antidote.report.benchmark.summary import PLACE
from antidote.report.words import option, rate, short, tracer, tracers_in_order, word

RECALL, PRECISION = "tracing/recall", "tracing/precision"
ATTACK = [*PLACE, "rate"]
APART = 0.5  # of the room between two discoveries, which the tracers share
SIZE = (3.5, 2.7)
MARKERS = "o*ph8dX<"
GREY = "#555555"


def found(cells: pd.DataFrame) -> list[Picture]:
    """One picture, a panel per attack at its rate; none if nothing was traced."""
    traced = cells[(cells["tracing"] != "none") & cells[RECALL].notna()]
    if traced.empty:
        return []
    # tracing comes before the method: a seed's cells with several methods are one
    once = traced.groupby([*ATTACK, "discovered", "tracing", "seed"], dropna=False, sort=False)
    runs = once[[RECALL, PRECISION]].mean().reset_index()
    means = runs.groupby([*ATTACK, "discovered", "tracing"], dropna=False, sort=False)
    n = counted(list(means.size()))
    rows = means[[RECALL, PRECISION]].mean().reset_index()
    at = {d: i for i, d in enumerate(discoveries(traced))}
    tracers = tracers_in_order(rows["tracing"])
    told = [name for name in PLACE[1:] if rows[name].nunique() > 1]
    panels = [
        partial(panel, rows=part, title=titled(part.iloc[0], told), at=at, tracers=tracers)
        for _, part in rows.groupby(ATTACK, dropna=False, sort=False)
    ]
    caption = (
        "Recall, filled: the share of the hidden poison that was found. Precision, hollow: the "
        "share of what was found that is hidden poison; no mark where nothing was found in any "
        f"run. Means over seeds ({n}), each counted once, whatever the number of methods that got "
        "what was found. Tracers stand side by side, so that none hides another."
    )
    heading = "What tracing finds of the hidden poison"
    return [Picture("tracing", heading, caption, panels, SIZE, legend(tracers))]


def discoveries(cells: pd.DataFrame) -> list[str]:
    """By share; what has none comes first."""
    share = cells.drop_duplicates("discovered").set_index("discovered")["share"].fillna(-1.0)
    return list(share.sort_values(kind="stable").index)


def titled(row: pd.Series, told: list[str]) -> str:
    """The attack, and of its place what is not the same all over the figure."""
    more = [word(row[name]) for name in told if row[name]]
    return textwrap.fill(", ".join([word(row["poison"]), rate(row["rate"]), *more]), 44)


def panel(
    figure: Canvas, rows: pd.DataFrame, title: str, at: dict[str, int], tracers: list[str]
) -> None:
    axis: Axes = figure.subplots()
    looks = styles(tracers)
    step = APART / max(1, len(tracers) - 1)
    for i, tracing in enumerate(tracers):
        part = rows[rows["tracing"] == tracing]
        part = part.assign(x=part["discovered"].map(at)).sort_values("x")
        x = part["x"] + step * (i - (len(tracers) - 1) / 2)
        how = looks[tracing]
        axis.plot(x, part[PRECISION], **how | precision(how), zorder=2.4, clip_on=False)
        axis.plot(x, part[RECALL], **how, zorder=2.5, clip_on=False)
    axis.set_title(title, fontsize=9, pad=9)
    axis.set(xlim=(-0.55, len(at) - 0.45), ylim=(0, 1), ylabel="recall, precision")
    axis.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    called = [short(word(d), 20).replace(" sample", "\nsample") for d in at]
    axis.set_xticks(list(at.values()), called)
    axis.set_xlabel("share of the poison discovered")
    axis.grid(axis="x", visible=False)


def styles(tracers: list[str]) -> dict[str, dict[str, Any]]:
    """Of each tracer; variants of one share its colour and have markers of their own."""
    found: dict[str, dict[str, Any]] = {}
    for tracing in tracers:
        nth = sum(option(t) == option(tracing) for t in found)
        other = {"marker": MARKERS[nth % len(MARKERS)]} if nth else {}
        found[tracing] = tracer_style(tracing) | other
    return found


def precision(how: dict[str, Any]) -> dict[str, Any]:
    """As a tracer's recall, but hollow and dashed; larger, to be seen around an equal recall."""
    edge = {"markeredgecolor": how["color"], "markeredgewidth": 1.1, "markerfacecolor": "white"}
    size = 1.5 * how["markersize"]
    return edge | {"markersize": size, "linestyle": (0, (3, 2)), "linewidth": 1.0}


def legend(tracers: list[str]) -> list[Line2D]:
    """Tracers by colour and marker, then the two measures by line and filling."""
    looks = [Line2D([], [], label=tracer(t)["label"], **s) for t, s in styles(tracers).items()]
    grey: dict[str, Any] = {"color": GREY, "marker": "o", "markersize": 5, "linewidth": 1.4}
    filled = Line2D([], [], label="recall", **grey)
    return [*looks, filled, Line2D([], [], label="precision", **grey | precision(grey))]
