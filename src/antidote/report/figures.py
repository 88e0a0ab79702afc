"""The three pictures of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from torch import Tensor, nn

from antidote.answers import answers
from antidote.core import Data, Loader, Poison

BEFORE, AFTER, MUTED = "#b23a48", "#2a6f97", "#8a8a8a"


def save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=110, bbox_inches="tight", facecolor="white")
    return path


def show(
    axis: Axes, image: Tensor, classes: Sequence[str], true: int, stored: int, told: Tensor
) -> None:
    """One image (C, H, W) with its labels above and the answers (before, after) below."""
    grey: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1}
    axis.imshow(image.permute(1, 2, 0).clamp(0, 1).squeeze(-1), **grey)
    wrong = "" if stored == true else f"\nlabelled: {classes[stored]}"
    axis.set_title(f"true: {classes[true]}{wrong}", fontsize=8)
    for height, who, answer in ((-0.10, "before", int(told[0])), (-0.22, "after", int(told[1]))):
        colour, weight = ("black", "normal") if answer == true else (BEFORE, "bold")
        how: dict[str, Any] = {"ha": "center", "fontsize": 8, "color": colour, "weight": weight}
        axis.text(0.5, height, f"{who}: {classes[answer]}", transform=axis.transAxes, **how)


def samples(
    path: Path,
    data: Data,
    poison: Poison,
    victim: nn.Module,
    unlearned: nn.Module,
    columns: int = 6,
) -> Path:
    """Images (clean test, poisoned training, further probes), labels and both nets' answers."""
    rows: list[tuple[str, Loader, Tensor]] = [
        ("clean test", poison.probes["test"].loader, data.test.y)
    ]
    if len(poison.indices):
        as_trained = Loader(poison.train, poison.indices, view=poison.view)
        rows.append(("poisoned training", as_trained, data.train.y))
    rows += [
        (name, probe.loader, data.test.y)
        for name, probe in poison.probes.items()
        if name not in ("test", "poisoned")
    ]
    figure = Figure(figsize=(1.75 * columns + 0.4, 2.6 * len(rows)))
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (title, loader, truth) in zip(axes, rows, strict=True):
        few = loader.but(rows=loader.rows[:: max(1, len(loader.rows) // columns)][:columns])
        images = torch.cat([x for x, _ in few]).cpu()
        stored = torch.cat([y for _, y in few])
        told = torch.stack([answers(net, few)[0] for net in (victim, unlearned)])
        for axis in line:
            axis.axis("off")
        for i, (axis, image) in enumerate(zip(line, images, strict=False)):
            show(axis, image, data.classes, int(truth[few.rows[i]]), int(stored[i]), told[:, i])
        about: dict[str, Any] = {"rotation": 90, "va": "center", "fontsize": 10, "weight": "bold"}
        line[0].text(-0.18, 0.5, title, transform=line[0].transAxes, **about)
    figure.suptitle(
        "What the victim (before) and the unlearned net (after) answer; wrong answers in red",
        fontsize=10,
    )
    figure.tight_layout(h_pad=3.2)
    return save(figure, path)


def search_path(
    path: Path, steps: Sequence[Mapping[str, float]], search: Mapping[str, Any]
) -> Path:
    """Known-poison accuracy and share of dampened weights by cutoff, and where PTN stopped."""
    figure = Figure(figsize=(7, 4.2))
    axis = figure.subplots()
    cutoffs = [s["cutoff"] for s in steps]
    axis.plot(
        cutoffs,
        [s["known_poison_accuracy"] for s in steps],
        "o-",
        color=BEFORE,
        markersize=4,
        label="known poison answered with its poisoned label",
    )
    axis.plot(
        cutoffs,
        [s["dampened"] for s in steps],
        "--",
        color=MUTED,
        label="share of weights dampened",
    )
    axis.axhline(
        search["rho"] * search["start_accuracy"],
        color="black",
        linewidth=0.8,
        linestyle=":",
        label=f"stop at rho = {search['rho']:g} of the victim's {search['start_accuracy']:.0%}",
    )
    verdict = "stop" if search["met"] else "gave up"
    axis.plot(
        [search["cutoff"]],
        [search["known_poison_accuracy"]],
        "*",
        color=AFTER,
        markersize=16,
        label=f"{verdict}: try {search['tries']}, cutoff {search['cutoff']:.3g}",
    )
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
    axis.legend(fontsize=8, loc="center left")
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title("PTN: dampen more until the known poison is no longer believed", fontsize=10)
    return save(figure, path)


def per_class(
    path: Path, classes: Sequence[str], before: Mapping[str, float], after: Mapping[str, float]
) -> Path:
    """Clean test accuracy of each class before and after unlearning."""
    figure = Figure(figsize=(max(7.0, 0.32 * len(classes)), 3.6))
    axis = figure.subplots()
    places = torch.arange(len(classes)).numpy()
    for shift, values, colour, label in (
        (-0.2, before, BEFORE, "before (victim)"),
        (0.2, after, AFTER, "after unlearning"),
    ):
        heights = [values[f"test/class_accuracy/{k}"] for k in range(len(classes))]
        axis.bar(
            places + shift,
            heights,
            0.4,
            color=colour,
            label=f"{label}, mean {values['test/accuracy']:.1%}",
        )
    axis.set_xticks(places, classes, rotation=35, ha="right", fontsize=8)
    axis.set(ylabel="clean test accuracy", ylim=(0, 1.0))
    axis.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title("Per-class accuracy on clean test images", fontsize=10, pad=24)
    return save(figure, path)
