"""Figures from panels: side by side in a file, one by one in the page, which wraps them."""

from __future__ import annotations

import base64
import io
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from antidote.report.words import look, option, tracer

Canvas = Figure | SubFigure
Panel = Callable[[Canvas], None]
LOOK: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "axes.edgecolor": "#888888",
    "text.parse_math": False,  # $ in a name is no formula
    "svg.hashsalt": "antidote",  # else every name in a file differs each time
}
STROKES = "+x1234|_"  # markers without an inside
WIDENED = dict(zip(STROKES + ".", "PXv^<>ddo", strict=True))
COLUMNS = 3
LEGEND = 0.24  # inches of a line
LETTERS = 11  # of a heading, to the inch
ENTRY = 0.6  # inches of a legend's entry besides its letters


@dataclass(frozen=True)
class Picture:
    """`size`: inches of one panel; `legend`: its entries."""

    name: str
    heading: str
    caption: str
    panels: Sequence[Panel]
    size: tuple[float, float]
    legend: Sequence[Line2D] = field(default=())

    @property
    def pixels(self) -> int:
        """Width of a panel in a browser."""
        return round(96 * self.size[0])

    def columns(self, width: float, at_most: int) -> int:
        """Of a legend that is so many inches wide."""
        longest = max((len(str(h.get_label())) for h in self.legend), default=0)
        return max(1, min(at_most, int(width / max(1.6, ENTRY + longest / LETTERS))))

    def files(self) -> dict[str, bytes]:
        """{file name: content} of the whole figure as PNG and SVG."""
        rows = math.ceil(len(self.panels) / COLUMNS)
        columns = math.ceil(len(self.panels) / rows)  # four panels are two and two
        width = columns * self.size[0]
        lines = math.ceil(len(self.legend) / self.columns(width, at_most=COLUMNS**2))
        below = LEGEND * lines + 0.15 if lines else 0.0
        heading = textwrap.fill(self.heading, round(LETTERS * width))
        height = rows * self.size[1] + 0.15 + 0.18 * len(heading.splitlines())
        with mpl.rc_context(LOOK):
            figure = Figure(figsize=(width, height + below), layout="constrained")
            parts: Any = figure.subfigures(2, 1, height_ratios=[height, below or 1e-3])
            parts[0].suptitle(heading, fontsize=11)
            for part, panel in zip(
                parts[0].subfigures(rows, columns, squeeze=False).flat, self.panels, strict=False
            ):
                panel(part)
            if lines:
                wide = math.ceil(len(self.legend) / lines)
                parts[1].legend(handles=list(self.legend), loc="center", ncols=wide, frameon=False)
            return {f"{self.name}.{kind}": content(figure, kind) for kind in ("png", "svg")}

    def images(self) -> list[tuple[str, int]]:
        """Each panel as an address that needs no file, and its width in pixels; the legend last."""
        found = [(address(panel, self.size), self.pixels) for panel in self.panels]
        if self.legend:
            columns = self.columns(4.0, at_most=2)
            size = (4.0, LEGEND * math.ceil(len(self.legend) / columns) + 0.2)
            panel = partial(legend, entries=self.legend, columns=columns)
            found.append((address(panel, size), 384))
        return found


def content(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    undated = {"Date": None} if kind == "svg" else None
    figure.savefig(buffer, format=kind, dpi=150, facecolor="white", metadata=undated)
    return buffer.getvalue()


def address(panel: Panel, size: tuple[float, float]) -> str:
    with mpl.rc_context(LOOK):
        figure = Figure(figsize=size, layout="constrained")
        panel(figure)
        svg = content(figure, "svg")
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def legend(figure: Canvas, entries: Sequence[Line2D], columns: int) -> None:
    figure.legend(handles=list(entries), loc="center left", ncols=columns, frameon=False)


def handles(defences: Sequence[str]) -> list[Line2D]:
    """One for each look: variants of a method, or of a tracer, share theirs."""
    options = dict.fromkeys(map(option, defences))
    return [Line2D([], [], label=look(m)["label"], **style(m)) for m in options]


def style(defence: str) -> dict[str, Any]:
    """How a method's line and points look, everywhere."""
    its = look(defence)
    if its["fill"] != "full":
        return hollow(its)
    return drawn(its) | {
        "markeredgecolor": its["colour"] if its["marker"] in STROKES else "white",
        "markeredgewidth": 1.2 if its["marker"] in STROKES else 0.5,
    }


def tracer_style(tracing: str) -> dict[str, Any]:
    """Of a tracer by itself, whatever method gets what it found."""
    edge = {"linestyle": "-", "markeredgecolor": "white", "markeredgewidth": 0.5}
    return drawn(tracer(tracing)) | edge


def hollow(its: dict[str, Any]) -> dict[str, Any]:
    """Markers with an edge, filled in part or not at all; strokes, which cannot be, are widened."""
    wide = drawn(its | {"marker": WIDENED.get(its["marker"], its["marker"])})
    edge = {"markeredgecolor": its["colour"], "markeredgewidth": 1.0}
    inside = {"none": "white", "black": "#222222"}.get(its["fill"])  # no line shows through white
    if inside is not None:
        return wide | edge | {"markerfacecolor": inside}
    return wide | edge | {"fillstyle": its["fill"], "markerfacecoloralt": "white"}


def drawn(its: Mapping[str, Any]) -> dict[str, Any]:
    line = its["line"]
    return {
        "color": its["colour"],
        "marker": its["marker"],
        "linestyle": line if isinstance(line, str) else (line[0], tuple(line[1])),
        "markersize": {"*": 9, "X": 6.5, "P": 6.5}.get(its["marker"], 5),
        "linewidth": 1.4,
    }
