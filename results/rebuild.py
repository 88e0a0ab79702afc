"""Writes the tables, figures and pages of this folder anew, from the cells.csv in each.

    python results/rebuild.py                # all of them
    python results/rebuild.py potion_small

The runs were made before `healed` counted the target class alike in A and in C. What they recorded
is enough to work out today's figures (README.md says how), and that is done here, from columns that
are left as they were: nothing that was measured is changed, and a second call changes nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from antidote.engine.disk import write
from antidote.metrics.score import Recovery, objective
from antidote.report.benchmark.page import About
from antidote.report.benchmark.report import make

HERE = Path(__file__).parent
# cells.csv besides what every report has: trigger/accuracy, target class left out, as recorded
OTHERS = ("others_accuracy_before", "others_accuracy")
LIKE_C, LEFT_OUT = "target class in A as in C", "target class in C only"
NO_TARGET = "no target class"
ATTACK = Recovery(harmed="A", intact="C", success="S", seen="T")
SAME_VICTIM = ["width", "rate", "seed"]
SEEN = ["clean_accuracy_before", "attack_success_before", OTHERS[0]]
RUNS = """
Of runs made with commit 097a58dfbb35, of which cells.csv is kept; a later version built this page
from it. Its hashes are of that time's definition, so that no plan and no sweep of today's finds
these cells.
"""
COUNTED = """
“Healed” was worked out anew with the target class in A as in C: A(after) was recorded for all
triggered test images, and A(before) is what the cell without unlearning recorded of the same
victim. “Healed in training” was not measured then.
"""
JIT = """
The cells of JiT were run again, with commit 8c76944, since its loss was not its authors' before.
"""
CORRECTIVE = """
For swapped labels A is the accuracy on the poisoned training images, which is “healed in training”
as well; for interclass confusion that was not measured then. “Healed” is as it was: neither attack
has a target class.
"""
WIDTH = """
“Healed” is here in its earlier definition: the target class is left out of A and counted in C, so
that it can exceed 100 %. No cell without unlearning was run at two of the three widths, and only
one definition allows a comparison. “Healed in training” was not measured then.
"""
NOTES = {
    "potion_small": [COUNTED],
    "methods_small": [COUNTED, JIT],
    "corrective_small": [CORRECTIVE],
    "width_small": [WIDTH],
}


def read(name: str) -> pd.DataFrame:
    """What was recorded of a folder's cells."""
    cells = pd.read_csv(HERE / name / "cells.csv")
    if OTHERS[0] not in cells:  # as the runs left it
        patch = cells["poison"] == "badnets"
        cells[list(OTHERS)] = cells[["harmed_accuracy_before", "harmed_accuracy"]].where(patch)
        cells["width"] = cells["setting"].astype(str).str.extract(r"width (\S+)", expand=False)
    cells["width"] = cells["width"].astype(float).fillna(0.25)
    cells["unmet"] = ""  # of PTN, the only one that assumes anything: all attacks have wrong labels
    return cells


def before_of(cells: pd.DataFrame) -> pd.Series:
    """A(before), target class included: what `unlearning=none` recorded of the very same victim."""
    none = read("potion_small").query("unlearning == 'none'")
    none = none[[*SAME_VICTIM, *SEEN, "healed_raw"]].drop_duplicates()
    assert not none.duplicated(SAME_VICTIM).any(), "one victim with two accuracies"
    # a victim of the same name that measures otherwise is another one
    found = cells[[*SAME_VICTIM, *SEEN]].merge(none, "left", [*SAME_VICTIM, *SEEN])
    return found["healed_raw"].set_axis(cells.index)


def recomputed(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells with every score as `antidote.metrics.score` defines it today."""
    patch, noise = cells["poison"] == "badnets", cells["poison"] == "label_noise"
    A = cells[["harmed_accuracy_before", "harmed_accuracy"]].set_axis([0, 1], axis=1)
    all_classes = pd.DataFrame({0: before_of(cells), 1: cells["healed_raw"]})
    whole = patch.any() and all_classes[patch].notna().all(axis=None)
    others = cells[list(OTHERS)].set_axis([0, 1], axis=1)
    A = A.where(~patch, all_classes if whole else others)
    seen = A[1].where(noise, cells.get("healed_train"))
    scores = [verdict(row, A.loc[i, 0], A.loc[i, 1], seen[i]) for i, row in cells.iterrows()]
    definition = np.where(patch, LIKE_C if whole else LEFT_OUT, NO_TARGET)
    told = cells.assign(**pd.DataFrame(scores, index=cells.index), healed_definition=definition)
    # in a folder of the earlier definition it is still the papers' column
    return told.assign(healed_raw=told["healed_raw"].where(~patch, cells["healed_raw"]))


def verdict(cell: pd.Series, harmed_before: float, harmed: float, seen: float) -> dict[str, Any]:
    before = {"C": cell["clean_accuracy_before"], "S": cell["attack_success_before"]}
    after = {"C": cell["clean_accuracy"], "S": cell["attack_success"], "T": seen}
    scores = ATTACK(before | {"A": harmed_before, "T": seen}, after | {"A": harmed})
    return scores | {"objective": objective(scores)}


def frame(cells: pd.DataFrame) -> pd.DataFrame:
    """As `antidote.engine.results` gives it; settings are those of the experiments' files."""
    share = cells["share"]
    params = [
        {
            "dataset.limit": "20000",
            "model.net.width": str(width),
            "recipe.batch_size": "128",
            "recipe.epochs": "12" if rate == 0.002 else "5",
        }
        for width, rate in zip(cells["width"], cells["rate"], strict=True)
    ]
    return cells.assign(
        status="ok",
        id="",
        method=cells["unlearning"],
        discovered=[("one sample" if np.isnan(s) else f"{100 * s:g} %") for s in share],
        params=params,
    )


def rebuild(name: str) -> None:
    cells = recomputed(read(name))
    about = About(
        title=f"Experiment {name}",
        command="python results/rebuild.py",
        source=f"results/{name}/cells.csv",
        note=[RUNS, *NOTES[name]],
    )
    wanted = dict(zip(cells["config_hash"], cells["command"], strict=True))
    print(make(frame(cells), wanted, about, HERE / name))
    path = HERE / name / "cells.csv"
    kept = cells.set_index("config_hash")[[*OTHERS, "healed_definition"]]
    table = pd.read_csv(path).drop(columns="id").join(kept, on="config_hash")
    write(path, table.to_csv(index=False))


if __name__ == "__main__":
    for folder in sys.argv[1:] or NOTES:
        rebuild(folder)
