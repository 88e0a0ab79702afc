"""What several of the report's figures share: places, limits, tick marks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from antidote.engine.cell import short_hash
from antidote.metrics.table import table
from antidote.report.benchmark.summary import PLACE
from antidote.report.words import word

HEALED, DROP = "healed", "accuracy_drop"
NAMES = {HEALED: table()[HEALED].label, DROP: f"{table()[DROP].label} (points)"}
LEAST = {HEALED: 1.0, DROP: 0.05}
ROOM = 0.06  # of the drawn range, above and below
WIDE, BEND = 0.15, 0.05  # drops beyond WIDE: an axis linear up to BEND and logarithmic from there
MARKS = (-0.5, -0.2, -0.1, -0.05, -0.02, 0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
BENT = "Where drops are large their axis is linear up to 5 points and logarithmic beyond."


def places(cells: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """(name for a file, title, rows) of each poison, data set, net and setting."""
    for place, part in cells.groupby(PLACE, sort=False):
        poison, dataset, model, setting = place
        yield file_name(place), titled(poison, dataset, model, setting=setting), part


def file_name(place: Sequence[str]) -> str:
    """Another for each place, also where it had to be cut, or letters had to be left out."""
    whole = "_".join(filter(None, place))
    name = re.sub(r"[^\w.]+", "_", whole.replace(" ", "_"))
    if name == whole.replace(" ", "_") and len(name) <= 80:
        return name
    return f"{name[:70]}_{short_hash(place)[:8]}"


def titled(*options: str, setting: str) -> str:
    return ", ".join([*map(word, options), *[setting] * bool(setting)])


def reach(values: pd.Series, measure: str) -> tuple[float, float]:
    """Limits that show 0, the measure's `LEAST` and all values, with some room."""
    known = [0.0, LEAST[measure], *values.dropna()]
    low, high = min(known), max(known)
    return low - ROOM * (high - low), high + ROOM * (high - low)


def shares(axes: Axes, side: str, measure: str, values: pd.Series) -> None:
    """The `side` ("x" or "y") of a measure, in percent; it bends at `BEND` if drops are large."""
    limits, axis = reach(values, measure), getattr(axes, f"{side}axis")
    if measure == DROP and limits[1] > WIDE:
        getattr(axes, f"set_{side}scale")("symlog", linthresh=BEND, linscale=1.1)
        axis.set_major_locator(FixedLocator(MARKS))
        axis.set_minor_locator(NullLocator())
        # beyond the bend room is a factor
        limits = min(0.0, *values.dropna()) - 0.01, 1.2 * limits[1]
    unit = "" if measure == DROP else " %"  # a drop is a difference of percentages: points
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(100 * value, 6):g}{unit}"))
    axes.set(**{f"{side}lim": limits, f"{side}label": NAMES[measure]})


def counted(counts: Sequence[int]) -> str:
    """n = 2; n = 1 to 3."""
    low, high = min(counts), max(counts)
    return f"n = {low}" if low == high else f"n = {low} to {high}"
