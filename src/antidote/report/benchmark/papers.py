"""Published figures beside ours, and in words how the settings differ."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from antidote.report.words import option, rate, word


def beside(cells: pd.DataFrame, methods: pd.DataFrame) -> list[dict[str, Any]]:
    """Each paper whose attack was done here: `rows` of figures, `pairs` of settings, `caveats`.

    They traced nothing, so no method that got what was traced stands beside them.
    """
    papers = yaml.safe_load(Path(__file__).with_name("papers.yaml").read_text())
    found = []
    for paper in papers:
        ours = alike(methods, paper["poison"])
        rows = [
            {"published": figures, "ours": mean.to_dict()}
            for figures in paper["figures"]
            for _, mean in ours.iterrows()
            if figures["method"] == option(mean["method"])
        ]
        if rows:
            here = described(alike(cells, paper["poison"]))
            pairs = [(name, text, here.get(name, "")) for name, text in paper["setting"].items()]
            found.append({**paper, "rows": rows, "pairs": pairs})
    return found


def alike(table: pd.DataFrame, poison: str) -> pd.DataFrame:
    return table[(table["poison"] == poison) & (table["tracing"] == "none")]


def described(cells: pd.DataFrame) -> dict[str, str]:
    """Our own setting in the words of papers.yaml."""
    nets = cells.drop_duplicates(["dataset", "model", "width"])
    return {
        "data and net": "; ".join(net(row) for _, row in nets.iterrows()),
        "poison": f"{word(cells['poison'].iloc[0])} on {joined(map(rate, cells['rate']))}",
        "discovery": joined(map(word, cells["discovered"])),
        "training": joined((training(row) for _, row in cells.iterrows()), "; "),
        "seeds": f"{cells['seed'].nunique()} ({joined(map(str, cells['seed']))})",
        "SSD's cutoff": "found by the PTN search (ssd_ptn)",
    }


def net(cell: pd.Series) -> str:
    limit = cell["params"].get("dataset.limit", "None")
    size = f", {int(limit):,} training samples" if limit.isdigit() else ""
    width = "" if pd.isna(cell["width"]) else f" of width {cell['width']:g}"
    return f"{word(cell['dataset'])}{size}, {word(cell['model'])}{width}"


def training(cell: pd.Series) -> str:
    of = cell["params"].get
    epochs, steps = of("recipe.epochs", "None"), of("recipe.steps", "None")
    long = f"{steps} steps" if epochs == "None" else f"epochs: {epochs}"
    return f"{long}, batches of {of('recipe.batch_size')} at {rate(cell['rate'])} poison"


def joined(texts: Iterable[str], between: str = ", ") -> str:
    """Each once, in the order of their coming."""
    return between.join(dict.fromkeys(texts))
