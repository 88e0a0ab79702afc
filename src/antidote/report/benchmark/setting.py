"""What else differs between cells that look the same: never averaged over unseen."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import pandas as pd

from antidote.report.words import short

WIDTH = "model.net.width"
PLACE = ["poison", "dataset", "model"]
ACTED = ("poison_rate", "epochs_at")  # what they led to stands in the groups


def variants(cells: pd.DataFrame) -> pd.DataFrame:
    """Cells with what differs at equal values put in words, so that it is averaged by itself.

    A parameter of the method goes to the name in `method` ("xlf_ptn, rho 0.1"), any other to
    `setting`, empty where none differs; `other_setting` is that without the net's width. Seeds
    do not count.
    """
    params = pd.DataFrame([relevant(p) for p in cells["params"]], index=cells.index)
    of_method = [name for name in params if name.startswith("unlearning.")]
    own, others = params[of_method].fillna("-"), params.drop(columns=of_method).fillna("-")
    told = cells.assign(setting="", other_setting="")
    for _, part in cells.groupby(PLACE, sort=False):
        rows, keys = part.index, [part[name] for name in ("rate", "discovered", "method")]
        here = others.loc[rows]
        told.loc[rows, "setting"] = differing(here, keys)
        but = here.drop(columns=WIDTH, errors="ignore")
        told.loc[rows, "other_setting"] = differing(but, keys)
        for method, same in told.loc[rows].groupby("method", sort=False):
            keys = [same[name] for name in ("rate", "discovered", "setting")]
            variant = differing(own.loc[same.index], keys)
            told.loc[same.index, "method"] = f"{method}, " + variant if any(variant) else method
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
        words = str(name).rsplit(".", 1)[-1].replace("_", " ") + " " + values.map(short)
        told = told.where(told == "", told + ", ") + words
    return told


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
