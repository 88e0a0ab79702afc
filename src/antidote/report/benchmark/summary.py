"""Means with intervals over seeds, the papers' aggregate per method, the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from antidote.engine.results import UNMET_FLOOR
from antidote.metrics.table import shown, table
from antidote.metrics.targets import wilson
from antidote.report.words import defence, in_order, tracers_in_order

PLACE = ["poison", "dataset", "model", "setting"]  # cells of one place are drawn together
GROUP = [*PLACE, "rate", "discovered", "tracing", "method"]  # differ in nothing but the seed
# of a single target 0 or 1
HIT_OR_MISSED = "attack_success", "residual", "healed", "healed_asr", "healed_raw", "recovered"
LEARNED = 0.5  # attack success from which the victim counts as poisoned


def measures(cells: pd.DataFrame) -> list[str]:
    """What is averaged."""
    return [metric.name for metric in shown("summary", had(cells))]


def had(cells: pd.DataFrame) -> set[str]:
    """Metrics that any of the cells has."""
    return {name for name in table() if name in cells and cells[name].notna().any()}


def traced(cells: pd.DataFrame) -> bool:
    """Whether anything traced in any of them."""
    return bool((cells["tracing"] != "none").any())


def defended(cells: pd.DataFrame) -> pd.DataFrame:
    """With `defence`: the method, and if need be the tracer, by which figures tell rows apart."""
    several = len(set(cells["tracing"]) - {"none"}) > 1
    pairs = zip(cells["method"], cells["tracing"], strict=True)
    return cells.assign(defence=[defence(*pair, named=several) for pair in pairs])


def interval(values: Sequence[float]) -> tuple[float, float, int]:
    """Mean, half width of an interval, n; NaN left out.

    The interval is Student's, 95 %; of two values it is their range, since Student's would be 12.7
    standard errors to each side; of one there is none (NaN).
    """
    known = np.asarray(values, dtype=float)
    known = known[~np.isnan(known)]
    n = len(known)
    if n == 0:
        return math.nan, math.nan, 0
    if n == 1:
        return float(known[0]), math.nan, 1
    if n == 2:
        return float(known.mean()), float(np.ptp(known)) / 2, 2
    half = float(stdtrit(n - 1, 0.975)) * known.std(ddof=1) / math.sqrt(n)
    return float(known.mean()), float(half), n


def single(cells: pd.DataFrame) -> bool:
    """Whether each run has one target, which is hit or missed."""
    return "n_targets" in cells and bool((cells["n_targets"] == 1).all())


def spread(values: Sequence[float], hits: bool) -> dict[str, float]:
    """Mean, `_half` and `_n` as of `interval`.

    Of `hits`, values that are all 0 or 1, Wilson's bounds, 95 %, as `_low` and `_high` instead of
    `_half`.
    """
    mean, half, n = interval(values)
    known = [value for value in values if not math.isnan(value)]
    if not (hits and n and set(known) <= {0.0, 1.0}):
        return {"": mean, "_half": half, "_n": n}
    low, high = wilson(int(sum(known)), n)
    return {"": mean, "_half": math.nan, "_low": low, "_high": high, "_n": n}


def bounds(rows: pd.DataFrame, measure: str) -> tuple[pd.Series, pd.Series]:
    """Of each row's interval; NaN where there is none."""
    low, high = (
        rows.get(f"{measure}{end}", pd.Series(math.nan, rows.index)) for end in ("_low", "_high")
    )
    mean, half = rows[measure], rows[f"{measure}_half"]
    return low.fillna(mean - half), high.fillna(mean + half)


def ordered(cells: pd.DataFrame) -> pd.DataFrame:
    """By place, rate, share discovered (what has no share comes first), method, tracer and seed."""
    rank = {method: i for i, method in enumerate(in_order(cells["method"]))}
    tracers = {tracing: i for i, tracing in enumerate(tracers_in_order(cells["tracing"]))}
    keys = cells.assign(
        known=cells["share"].fillna(-1.0),
        place=cells["method"].map(rank),
        tracer=cells["tracing"].map(tracers),
    )
    by = [*PLACE, "rate", "known", "discovered", "place", "tracer", "seed"]
    order = keys.sort_values(by).index
    return cells.loc[order].reset_index(drop=True)


def summarise(cells: pd.DataFrame) -> pd.DataFrame:
    """Per group and measure its mean over seeds, `_half` width of the interval and `_n`."""
    rows, measured = [], measures(cells)
    for group, members in cells.groupby(GROUP, sort=False, dropna=False):
        row = dict(zip(GROUP, group, strict=True)) | {"share": members["share"].iloc[0]}
        hits = HIT_OR_MISSED if single(members) else ()
        for measure in measured:
            told = spread(members[measure].tolist(), measure in hits)
            row |= {f"{measure}{what}": value for what, value in told.items()}
        row["runs"] = len(members)
        row["marks"] = marks(members)
        row["attack_not_learned"] = int(unlearnable(members).sum())
        rows.append(row)
    return pd.DataFrame(rows)


def unlearnable(cells: pd.DataFrame) -> pd.Series:
    """Whether the victim had hardly learned the attack, so that there was little to heal."""
    return cells["attack_success_before"] < LEARNED


def marked(cells: pd.DataFrame) -> dict[str, pd.Series]:
    """† where the known poison is not what a method is made for, ‡ where no trial met the floor."""
    return {
        "†": texts(cells, "unmet").astype(bool),
        "‡": texts(cells, "chosen").str.endswith(UNMET_FLOOR),
    }


def marks(cells: pd.DataFrame) -> str:
    """Of all of them together; in brackets what only some have."""
    told = marked(cells).items()
    return " ".join(mark if of.all() else f"({mark})" for mark, of in told if of.any())


def texts(cells: pd.DataFrame, name: str) -> pd.Series:
    """A column that older records lack."""
    return cells[name].fillna("") if name in cells else pd.Series("", cells.index)


def aggregate(cells: pd.DataFrame) -> pd.DataFrame:
    """Per method the unweighted mean over (data set, net, rate, discovered): the papers' aggregate.

    A cell is first averaged over its seeds. `_half`: as `interval` has it, over each seed's own
    aggregate, NaN unless every seed did the same cells; `_low`, `_high` as of `spread`, where there
    is one cell. A method with a tracer is one by itself.
    """
    rows, measured = [], measures(cells)
    names = ["poison", "setting", "tracing", "method"]
    where = ["dataset", "model", "rate", "discovered"]
    for group, members in cells.groupby(names, sort=False):
        row: dict[str, Any] = dict(zip(names, group, strict=True))
        alone = single(members) and members.groupby(where, dropna=False).ngroups == 1
        hits = HIT_OR_MISSED if alone else ()
        for measure in measured:
            known = members.groupby([*where, "seed"], dropna=False)[measure].mean()
            grid = known.unstack("seed").dropna(how="all")
            row[measure] = float(grid.mean(axis=1).mean()) if len(grid) else math.nan
            whole = len(grid) > 0 and not grid.isna().any(axis=None)
            told = spread(grid.mean().tolist() if whole or measure in hits else [], measure in hits)
            row |= {f"{measure}{e}": told[e] for e in ("_half", "_low", "_high") if e in told}
        row["cells"] = members.groupby(where, dropna=False).ngroups
        row["runs"], row["marks"] = len(members), marks(members)
        rows.append(row)
    table = pd.DataFrame(rows)
    table["front"] = False
    for _, part in table.groupby(["poison", "setting"], sort=False):
        if len(part) < 2:
            continue
        points = {i: (part.loc[i, "accuracy_drop"], part.loc[i, "healed"]) for i in part.index}
        table.loc[front(points), "front"] = True
    return table


def front(points: Mapping[Any, tuple[float, float]]) -> list[Any]:
    """Whose (accuracy drop, healed) no other point beats, by drop; undefined points are out."""
    ranked = sorted(
        (k for k, p in points.items() if not any(map(math.isnan, p))),
        key=lambda k: (points[k][0], -points[k][1]),
    )
    best: tuple[float, float] = (-math.inf, math.nan)
    kept = []
    for key in ranked:
        drop, healed = points[key]
        if healed > best[0] or (healed, drop) == best:
            best = (healed, drop)
            kept.append(key)
    return kept
