"""All poisons by all methods of the fails_cifar10_*_small experiments in one figure.

    python results/glance.py

Writes results/fails_small.png and .svg; every point is a row of a cells.csv beside it.
"""

from pathlib import Path

import pandas as pd

from antidote.report.benchmark.left import glance
from antidote.report.benchmark.summary import defended

HERE = Path(__file__).parent
FOLDERS = (
    "fails_cifar10_cross_small",
    "fails_cifar10_targeted_small",
    "fails_cifar10_indiscriminate_small",
)


def cells() -> pd.DataFrame:
    """Of all folders, without the attacks that a victim had not learned."""
    found = pd.concat([pd.read_csv(HERE / name / "cells.csv") for name in FOLDERS])
    return defended(found.assign(tracing="none", setting=""))


def main() -> None:
    (picture,) = glance(cells())
    for name, content in picture.files().items():
        (HERE / name.replace(picture.name, "fails_small")).write_bytes(content)


if __name__ == "__main__":
    main()
