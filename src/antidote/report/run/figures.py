"""The three figures of a run, from its record and the images it left; None where there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from antidote.report.words import printable, short

BEFORE, AFTER, MUTED = "#b23a48", "#2a6f97", "#8a8a8a"
COLUMNS = 6
LETTERS = 32  # of a class's name
Record = Mapping[str, Any]


def names(record: Record) -> list[str]:
    return [short(printable(name), LETTERS) for name in record.get("classes") or []]


def samples(path: Path, record: Record) -> Figure | None:
    """Images of each kind, labels and both nets' answers, from samples.npz."""
    if not path.exists():
        return None
    classes = names(record)
    with np.load(path) as stored:
        found = {key: stored[key] for key in stored.files}
    kinds = [key.removesuffix("/images") for key in found if key.endswith("/images")]
    figure = Figure(figsize=(1.75 * COLUMNS + 0.4, 2.6 * len(kinds)))
    lines = figure.subplots(len(kinds), COLUMNS, squeeze=False)
    for line, kind in zip(lines, kinds, strict=True):
        for axis in line:
            axis.axis("off")
        parts = (found[f"{kind}/{part}"] for part in ("images", "true", "stored"))
        rows = zip(*parts, found[f"{kind}/told"].T, strict=True)
        for axis, (image, true, stored_as, told) in zip(line, rows, strict=False):
            show(axis, image, classes, int(true), int(stored_as), told)
        about: dict[str, Any] = {"rotation": 90, "va": "center", "fontsize": 10, "weight": "bold"}
        line[0].text(-0.18, 0.5, kind, transform=line[0].transAxes, **about)
    figure.suptitle(
        "What the victim (before) and the unlearned net (after) answer; wrong answers in red",
        fontsize=10,
    )
    figure.tight_layout(h_pad=3.2)
    return figure


def show(
    axis: Axes, image: np.ndarray, classes: Sequence[str], true: int, stored: int, told: np.ndarray
) -> None:
    """One image (C, H, W) with its labels above and the answers (before, after) below."""
    axis.imshow(np.squeeze(np.moveaxis(image, 0, -1)), cmap="gray", vmin=0, vmax=255)
    wrong = "" if stored == true else f"\nlabelled: {classes[stored]}"
    axis.set_title(f"true: {classes[true]}{wrong}", fontsize=8)
    for height, who, answer in ((-0.10, "before", int(told[0])), (-0.22, "after", int(told[1]))):
        colour, weight = ("black", "normal") if answer == true else (BEFORE, "bold")
        how: dict[str, Any] = {"ha": "center", "fontsize": 8, "color": colour, "weight": weight}
        axis.text(0.5, height, f"{who}: {classes[answer]}", transform=axis.transAxes, **how)


def per_class(record: Record) -> Figure | None:
    """Clean test accuracy of each class before and after unlearning."""
    classes = names(record)
    if not classes:
        return None
    figure = Figure(figsize=(max(7.0, 0.32 * len(classes)), 3.6))
    axis = figure.subplots()
    places = np.arange(len(classes))
    for shift, when, colour, label in (
        (-0.2, "before", BEFORE, "before (victim)"),
        (0.2, "after", AFTER, "after unlearning"),
    ):
        values = record[when]
        heights = [values[f"test/class_accuracy/{k}"] for k in range(len(classes))]
        label = f"{label}, mean {values['test/accuracy']:.1%}"
        axis.bar(places + shift, heights, 0.4, color=colour, label=label)
    axis.set_xticks(places, classes, rotation=35, ha="right", fontsize=8)
    axis.set(ylabel="clean test accuracy", ylim=(0, 1.0))
    axis.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title("Per-class accuracy on clean test images", fontsize=10, pad=24)
    return figure


def search_path(record: Record) -> Figure | None:
    """Known-poison accuracy and share of dampened weights by cutoff, and where PTN stopped."""
    search = record.get("search")
    if not search:
        return None
    steps = [step for step in record["steps"] if "cutoff" in step]  # of a chain, the search's own
    figure = Figure(figsize=(7, 4.2))
    axis = figure.subplots()
    cutoffs = [step["cutoff"] for step in steps]
    believed = [step["known_poison_accuracy"] for step in steps]
    what = "known poison answered with its poisoned label"
    axis.plot(cutoffs, believed, "o-", color=BEFORE, markersize=4, label=what)
    dampened = [step["dampened"] for step in steps]
    axis.plot(cutoffs, dampened, "--", color=MUTED, label="share of weights dampened")
    limit = f"stop at rho = {search['rho']:g} of the victim's {search['start_accuracy']:.0%}"
    line: dict[str, Any] = {"color": "black", "linewidth": 0.8, "linestyle": ":"}
    axis.axhline(search["rho"] * search["start_accuracy"], label=limit, **line)
    verdict = "stop" if search["met"] else "gave up"
    stop = f"{verdict}: try {search['tries']}, cutoff {search['cutoff']:.3g}"
    at = [search["cutoff"]], [search["known_poison_accuracy"]]
    axis.plot(*at, "*", color=AFTER, markersize=16, label=stop)
    along_cutoffs(axis, cutoffs)
    axis.legend(fontsize=8, loc="center left")
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title("PTN: dampen more until the known poison is no longer believed", fontsize=10)
    return figure


def along_cutoffs(axis: Axes, cutoffs: Sequence[float]) -> None:
    if all(c > 0 for c in cutoffs):
        axis.set_xscale("log")
        for ticks in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
            ticks(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axis.invert_xaxis()
    axis.set(
        xlabel="cutoff alpha on the importance ratio (stronger dampening to the right)",
        ylabel="share",
        ylim=(-0.03, 1.05),
    )
