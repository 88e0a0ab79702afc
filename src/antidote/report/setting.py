"""What else differs between cells whose choices are the same: never averaged over unseen."""

from __future__ import annotations

from collections.abc import Collection, Hashable

import pandas as pd

WIDTH = "model.net.width"
PLACE = ["poison", "dataset", "model"]


def variants(cells: pd.DataFrame, elsewhere: Collection[str]) -> pd.DataFrame:
    """Cells with what differs at equal choices put in words, so that it is averaged by itself.

    A parameter of the method goes to the name in `method` ("xlf_ptn, rho 0.1"), any other to
    `setting`, empty where none differs; `other_setting` is that without the net's width. Seeds
    do not count, nor does what is `elsewhere`: keys that change no result, and their values
    wherever they were inserted.
    """
    params = pd.DataFrame([local(p, elsewhere) for p in cells["params"]], index=cells.index)
    of_method = [name for name in params if name.startswith("unlearning.")]
    own, others = params[of_method].fillna("-"), params.drop(columns=of_method).fillna("-")
    told = cells.assign(setting="", other_setting="")
    for _, part in cells.groupby(PLACE, sort=False):
        rows, keys = part.index, [part[name] for name in ("rate", "discovery", "method")]
        here = others.loc[rows]
        told.loc[rows, "setting"] = differing(here, keys)
        but = here.drop(columns=WIDTH, errors="ignore")
        told.loc[rows, "other_setting"] = differing(but, keys)
        for method, same in told.loc[rows].groupby("method", sort=False):
            keys = [same[name] for name in ("rate", "discovery", "setting")]
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
        words = str(name).rsplit(".", 1)[-1].replace("_", " ") + " " + values
        told = told.where(told == "", told + ", ") + words
    return told


def local(params: dict[str, str], elsewhere: Collection[str]) -> dict[str, str]:
    """The parameters that can change a result, free of this machine's folders."""
    folders = [params[k] for k in ("data_folder", "output") if len(params.get(k, "")) > 1]
    kept = {}
    for name, value in params.items():
        top = name.split(".", 1)[0]
        if top in elsewhere or "seed" in name.split(".") or top == "choice":
            continue
        if name.startswith("trainer.enable_"):  # progress bars
            continue
        for folder in folders:
            value = value.replace(folder, "")
        kept[name] = value
    return kept


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
