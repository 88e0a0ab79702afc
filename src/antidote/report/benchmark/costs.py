"""What healing costs: accuracy, and time."""

from __future__ import annotations

import textwrap
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from antidote.report.benchmark.axes import BENT, DROP, HEALED, places, shares, titled
from antidote.report.benchmark.canvas import Canvas, Picture, handles, style
from antidote.report.benchmark.summary import traced
from antidote.report.words import TRACED, in_order, look

CROWDED = 80.0  # a range of more is marked by powers of ten alone
IDLE = 0.05  # seconds; a method that takes less has done nothing


def plane(cells: pd.DataFrame, methods: pd.DataFrame) -> list[Picture]:
    """Per poison: all cells faintly, the methods' means, and the front of those."""
    panels = []
    for (poison, setting), means in methods.groupby(["poison", "setting"], sort=False):
        chosen = (cells["poison"] == poison) & (cells["setting"] == setting)
        if means[HEALED].notna().sum() > 1:
            title = titled(poison, setting=setting)
            panels.append(partial(trade_off, cells=cells[chosen], means=means, title=title))
    if not panels:
        return []
    caption = (
        "Large: mean of a method over its cells, unweighted over data set, net, poison rate and "
        "discovery, each a mean over seeds. Faint: single cells. Grey line: Pareto front of the "
        f"means. Up and to the left is better. {BENT}"
    )
    legend = handles(in_order(methods["defence"]))
    return [
        Picture("trade_off", "What healing costs in accuracy", caption, panels, (5.2, 4.2), legend)
    ]


def trade_off(figure: Canvas, cells: pd.DataFrame, means: pd.DataFrame, title: str) -> None:
    axis: Axes = figure.subplots()
    for method in in_order(means["defence"]):
        how = style(method) | {"linestyle": ""}
        size = how["markersize"]
        part, mean = cells[cells["defence"] == method], means[means["defence"] == method]
        faint = how | {"alpha": 0.22, "markersize": 0.7 * size, "zorder": 2}
        axis.plot(part[DROP], part[HEALED], **faint)
        axis.plot(mean[DROP], mean[HEALED], **how | {"markersize": 1.9 * size, "zorder": 4})
    best = means[means["front"]].sort_values(DROP)
    line: dict[str, Any] = {
        "color": "#555555",
        "linewidth": 1,
        "drawstyle": "steps-post",
        "zorder": 3,
    }
    axis.plot(best[DROP], best[HEALED], **line)
    shares(axis, "x", DROP, cells[DROP])
    shares(axis, "y", HEALED, cells[HEALED])
    axis.set_title(textwrap.fill(title, 60))


def seconds(cells: pd.DataFrame) -> list[Picture]:
    """Per place two panels: seconds of unlearning, and the same in units of the victim's fit."""
    found = []
    spent = cells["seconds_unlearn"] + cells["seconds_trace"].fillna(0.0)
    for name, title, part in places(cells[spent > IDLE]):
        if part["defence"].nunique() < 2:
            continue
        took = spent[part.index]
        relative = took / part["seconds_fit"]
        panels = [
            partial(lanes, cells=part, values=took, name="seconds"),
            partial(lanes, cells=part, values=relative, name="victim's fits"),
        ]
        caption = (
            "Median and range over the cells of this data set and net. Dashed: retraining's "
            "median, where it was done. Wall clock on the machine that ran the cells; work that "
            f"the store spared is counted in. Left out: cells of less than {IDLE} s, idle ones."
            + (" Traced: the tracer's time is counted in." if traced(part) else "")
        )
        if relative.notna().any():
            heading = f"Time: {title}"
            found.append(Picture(f"seconds_{name}", heading, caption, panels, (4.6, height(part))))
    return found


def height(cells: pd.DataFrame) -> float:
    """A lane with a tracer in its name has two lines of text."""
    lanes = cells["defence"].drop_duplicates()
    return 0.9 + (0.38 if lanes.str.contains(TRACED).any() else 0.3) * len(lanes)


def lanes(figure: Canvas, cells: pd.DataFrame, values: pd.Series, name: str) -> None:
    axis: Axes = figure.subplots()
    methods = in_order(cells["defence"])[::-1]
    for y, method in enumerate(methods):
        own = values[cells["defence"] == method].dropna()
        if own.empty:
            continue
        how = style(method)
        axis.plot([own.min(), own.max()], [y, y], color=how["color"], linewidth=2, alpha=0.45)
        axis.plot([own.median()], [y], **how)
        if method == "retrain":
            axis.axvline(own.median(), color=how["color"], linestyle="--", linewidth=0.9)
    axis.set_yticks(range(len(methods)), [lane(m) for m in methods])
    work = "tracing and unlearning" if traced(cells) else "unlearning"
    axis.set(xscale="log", xlabel=f"{work}, {name} (log)", ylim=(-0.6, len(methods) - 0.4))
    low, high = axis.get_xlim()
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < CROWDED * low else (1,)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.grid(axis="y", visible=False)


def lane(defence: str) -> str:
    return look(defence)["label"].replace(", traced", ",\ntraced")
