"""Healed and accuracy drop against the share discovered, and against the net's width."""

from __future__ import annotations

import textwrap
from functools import partial

import numpy as np
import pandas as pd

from antidote.report.benchmark.axes import BENT, NAMES, counted, places, shares, titled
from antidote.report.benchmark.canvas import Canvas, Picture, handles, style
from antidote.report.benchmark.summary import bounds
from antidote.report.words import in_order, rate, short, word

STEP = 0.7  # percent between the points of two methods, so that none hides another
OUTSIDE = 12.0  # percent between the places of discoveries that have no share


def discovery(summary: pd.DataFrame) -> list[Picture]:
    """One picture per place, a panel per poison rate; no curve through one discovery alone."""
    found = []
    for name, title, part in places(summary):
        if part["discovered"].nunique() < 2:
            continue
        n = counted(part["accuracy_drop_n"])
        caption = (
            f"Means over seeds ({n}). Bars: 95 % intervals over seeds (Student t; the range where "
            "n = 2; Wilson where a target is hit or missed), none where n = 1, cut at the panel's "
            "edge. Methods stand side by side at each share, so that none hides another. "
            f"{BENT}"
        )
        panels = [
            partial(against_discovery, rows=rows, place=part)
            for _, rows in part.groupby("rate", sort=False, dropna=False)
        ]
        legend = handles(in_order(part["defence"]))
        heading = f"Healing by the share discovered: {title}"
        found.append(Picture(f"discovery_{name}", heading, caption, panels, (4.0, 5.4), legend))
    return found


def against_discovery(figure: Canvas, rows: pd.DataFrame, place: pd.DataFrame) -> None:
    """The `rows` of one poison rate, on axes that fit all rates of the place."""
    axes = figure.subplots(2, 1, sharex=True)
    axes[0].set_title(f"{rate(rows['rate'].iloc[0])} of the training set poisoned")
    at, methods = stands(place), in_order(rows["defence"])
    for axis, measure in zip(axes, NAMES, strict=True):
        for i, method in enumerate(methods):
            part = rows[rows["defence"] == method]
            x = part["discovered"].map(at) + STEP * (i - (len(methods) - 1) / 2)
            low, high = bounds(part, measure)
            bars = [part[measure] - low, high - part[measure]]
            _, _, drawn = axis.errorbar(x, part[measure], bars, elinewidth=0.8, **style(method))
            for bar in drawn:
                bar.set_alpha(0.35)
        if rows[measure].isna().all():
            why = {"ha": "center", "va": "center", "transform": axis.transAxes, "color": "0.4"}
            axis.text(0.5, 0.5, "not defined:\nthe attack took hardly any", **why)
        shares(axis, "y", measure, place[measure])
        axis.set_xlim(min(at.values()) - 6, max(at.values()) + 6)
        axis.grid(axis="x", visible=False)
    called = [short(word(d), 20).replace(" sample", "\nsample") for d in at]
    axes[1].set_xticks(list(at.values()), called)
    axes[1].set_xlabel("share of the poison discovered")
    figure.align_ylabels(axes)


def stands(rows: pd.DataFrame) -> dict[str, float]:
    """Where each discovery stands, in percent; what has no share stands left of 0."""
    share = rows.drop_duplicates("discovered").set_index("discovered")["share"]
    unshared = [d for d in share.index if np.isnan(share[d])]
    left = {d: OUTSIDE * (i - len(unshared)) + 7 for i, d in enumerate(unshared)}
    return {d: left.get(d, 100 * share[d]) for d in share.index}


def width(cells: pd.DataFrame) -> list[Picture]:
    """A panel for each cell that was done, with one seed, at several widths of the net."""
    where = ["poison", "dataset", "model", "other_setting", "rate", "discovered"]
    panels = []
    widths = cells.groupby([*where, "defence", "seed"], dropna=False)["width"]
    several = cells[widths.transform("nunique") > 1]
    for keys, part in several.groupby(where, sort=False, dropna=False):
        poison, dataset, model, setting, poisoned, found = keys
        title = titled(poison, dataset, model, setting=setting)
        about = f"{textwrap.fill(title, 50)}\n{rate(poisoned)} poisoned, {word(found)} discovered"
        panels.append(partial(against_width, cells=part, title=about))
    if not panels:
        return []
    caption = "Means over the seeds that were done at more than one width; faint: single seeds."
    name, legend = "The width of the net", handles(in_order(several["defence"]))
    return [Picture("width", name, caption, panels, (4.0, 4.6), legend)]


def against_width(figure: Canvas, cells: pd.DataFrame, title: str) -> None:
    axes = figure.subplots(2, 1, sharex=True)
    axes[0].set_title(title, fontsize=9)
    for axis, measure in zip(axes, NAMES, strict=True):
        for method in in_order(cells["defence"]):
            part = cells[cells["defence"] == method].sort_values("width")
            how = style(method)
            means = part.groupby("width")[measure].mean()
            axis.plot(part["width"], part[measure], **how | {"linestyle": "", "alpha": 0.3})
            axis.plot(means.index, means, **how)
        shares(axis, "y", measure, cells[measure])
        axis.set_xscale("log")
        axis.grid(axis="x", visible=False)
    ticks = sorted(set(cells["width"]))
    axes[1].set_xticks(ticks, [f"{w:g}" for w in ticks])
    axes[1].minorticks_off()
    axes[1].set_xlabel("width of the net (model.net.width)")
    figure.align_ylabels(axes)
