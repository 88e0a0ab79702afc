"""Figures from panels: side by side in a file, one by one in the page, which wraps them."""

from __future__ import annotations

import base64
import io
import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from antidote.report.words import look, option

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
COLUMNS = 3
LEGEND = 0.24  # inches of a line
LETTERS = 11  # of a heading, to the inch
ENTRY = 0.6  # inches of a legend's entry besides its letters


@dataclass(frozen=True)
class Picture:
    """`size`: inches of one panel; `methods` are those in the legend."""

    name: str
    heading: str
    caption: str
    panels: Sequence[Panel]
    size: tuple[float, float]
    methods: Sequence[str] = field(default=())

    @property
    def entries(self) -> int:
        """How many the legend has."""
        return len(handles(self.methods))

    @property
    def pixels(self) -> int:
        """Width of a panel in a browser."""
        return round(96 * self.size[0])

    def columns(self, width: float, at_most: int) -> int:
        """Of a legend that is so many inches wide."""
        longest = max((len(h.get_label()) for h in handles(self.methods)), default=0)  # type: ignore
        return max(1, min(at_most, int(width / max(1.6, ENTRY + longest / LETTERS))))

    def files(self) -> dict[str, bytes]:
        """{file name: content} of the whole figure as PNG and SVG."""
        columns = min(COLUMNS, len(self.panels))
        rows = math.ceil(len(self.panels) / columns)
        width = columns * self.size[0]
        lines = math.ceil(self.entries / self.columns(width, at_most=COLUMNS**2))
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
                wide = math.ceil(self.entries / lines)
                parts[1].legend(
                    handles=handles(self.methods), loc="center", ncols=wide, frameon=False
                )
            return {f"{self.name}.{kind}": content(figure, kind) for kind in ("png", "svg")}

    def images(self) -> list[tuple[str, int]]:
        """Each panel as an address that needs no file, and its width in pixels; the legend last."""
        found = [(address(panel, self.size), self.pixels) for panel in self.panels]
        if self.methods:
            columns = self.columns(4.0, at_most=2)
            size = (4.0, LEGEND * math.ceil(self.entries / columns) + 0.2)
            panel = partial(legend, methods=self.methods, columns=columns)
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


def legend(figure: Canvas, methods: Sequence[str], columns: int) -> None:
    figure.legend(handles=handles(methods), loc="center left", ncols=columns, frameon=False)


def handles(methods: Sequence[str]) -> list[Line2D]:
    """One for each look: variants of a method share theirs."""
    options = dict.fromkeys(map(option, methods))
    return [Line2D([], [], label=look(m)["label"], **style(m)) for m in options]


def style(method: str) -> dict[str, Any]:
    """How a method's line and points look, everywhere."""
    its = look(method)
    size = {"*": 9, "X": 6.5, "P": 6.5}.get(its["marker"], 5)
    return {
        "color": its["colour"],
        "marker": its["marker"],
        "linestyle": its["line"],
        "markersize": size,
        "linewidth": 1.4,
        "markeredgecolor": its["colour"] if its["marker"] in "+x1234|_" else "white",
        "markeredgewidth": 1.2 if its["marker"] in "+x1234|_" else 0.5,
    }
