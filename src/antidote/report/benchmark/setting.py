"""What else differs between cells that look the same: never averaged over unseen."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import pandas as pd

from antidote.report.words import short

WIDTH = "model.net.width"
PLACE = ["poison", "dataset", "model"]
VAGUE = ("share", "value")
ACTED = ("poison_rate", "epochs_at")  # what they led to stands in the groups


def variants(cells: pd.DataFrame) -> pd.DataFrame:
    """Cells with what differs at equal values put in words, so that it is averaged by itself.

    A parameter of the method goes to the name in `method` ("xlf_ptn, rho 0.1"), one of the tracer
    to that in `tracing`, any other to `setting`, empty where none differs; `other_setting` is that
    without the net's width. Seeds do not count.
    """
    params = pd.DataFrame([relevant(p) for p in cells["params"]], index=cells.index)
    params = params.fillna("-")
    own = {group: params.filter(regex=rf"^{group}\.") for group in ("unlearning", "tracing")}
    others = params.drop(columns=[name for table in own.values() for name in table])
    told = cells.assign(setting="", other_setting="")
    for _, part in cells.groupby(PLACE, sort=False):
        rows = part.index
        keys = [part[name] for name in ("rate", "discovered", "tracing", "method")]
        here = others.loc[rows]
        told.loc[rows, "setting"] = differing(here, keys)
        but = here.drop(columns=WIDTH, errors="ignore")
        told.loc[rows, "other_setting"] = differing(but, keys)
        same = ["rate", "discovered", "setting"]
        here = told.loc[rows]
        told.loc[rows, "method"] = varied(here, "method", own["unlearning"], [*same, "tracing"])
        # whatever method gets what was traced
        told.loc[rows, "tracing"] = varied(here, "tracing", own["tracing"], same)
    return told


def varied(
    cells: pd.DataFrame, column: str, params: pd.DataFrame, same: Sequence[str]
) -> pd.Series:
    """The options of a column, each with what differs of its `params` where all of `same` agree."""
    told = cells[column].copy()
    for option, part in cells.groupby(column, sort=False):
        if option == "none":
            continue  # what does nothing does so by any settings; of tracing, records had none
        variant = differing(params.loc[part.index], [part[name] for name in same])
        told.loc[part.index] = f"{option}, " + variant if any(variant) else option
    return told


def differing(params: pd.DataFrame, keys: list[pd.Series]) -> pd.Series:
    """What differs between rows of equal `keys`, told of all rows: "width 0.25, epochs 5"."""
    varied = [
        name
        for name in params
        if params[name].nunique() > 1
        and params[name].groupby(keys, dropna=False).nunique().gt(1).any()
    ]
    told = pd.Series("", index=params.index, dtype=object)
    for name, values in distinct(params[varied]).items():
        words = called(str(name)) + " " + values.map(short)
        told = told.where(told == "", told + ", ") + words
    return told


def called(name: str) -> str:
    """The setting's last name, or that of what it is a part of where it says little by itself."""
    *groups, last = name.split(".")
    return (groups[-1] if last in VAGUE and len(groups) > 1 else last).replace("_", " ")


def relevant(params: Mapping[str, str]) -> dict[str, str]:
    """Those that may be told: no seeds, and nothing that is told as the value it led to."""
    return {
        name: value
        for name, value in params.items()
        if "seed" not in name.split(".") and name.split(".", 1)[0] not in ACTED
    }


def distinct(table: pd.DataFrame) -> pd.DataFrame:
    """One column of those that split the cells alike: the one nearest to the config's root."""
    seen: set[Hashable] = set()
    kept = []
    for name in sorted(table, key=lambda n: (n.count("."), len(n), n)):
        split = tuple(pd.factorize(table[name])[0])
        if split not in seen:
            seen.add(split)
            kept.append(name)
    return table[kept]
