"""Options in the reader's words, and one look per method in all figures."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from antidote.engine.cell import short_hash

# for methods that words.yaml does not know
SPARE = ("#332288", "#AA4499", "#661100", "#6699CC", "#000000")
LONG = 48  # letters of a value that is shown whole


@cache
def known() -> dict[str, dict[str, Any]]:
    return yaml.safe_load(Path(__file__).with_name("words.yaml").read_text())


def option(method: str) -> str:
    """The option's name in "xlf_ptn, rho 0.1"."""
    return method.split(", ", 1)[0]


def look(method: str) -> dict[str, str]:
    """`label`, `colour`, `marker` and `line` of a method; a new one gets a spare colour."""
    name, comma, variant = method.partition(", ")
    spare = SPARE[sum(map(ord, name)) % len(SPARE)]
    new = {"label": name.replace("_", " "), "colour": spare, "marker": "d", "line": "-."}
    found = known()["methods"].get(name, new)
    return found | {"label": found["label"] + comma + variant}


def word(name: str) -> str:
    """What a data set, net or poison is called."""
    return known()["words"].get(name, name.replace("_", " "))


def in_order(methods: Iterable[str]) -> list[str]:
    """Methods as words.yaml lists them, unknown ones last."""
    order = list(known()["methods"])
    rank = {name: i for i, name in enumerate(order)}
    return sorted(set(methods), key=lambda m: (rank.get(option(m), len(order)), m))


def percent(value: float | None, digits: int = 1) -> str:
    """0.9372 as "93.7 %"; a dash for what is not defined."""
    if value is None or missing(value):
        return "–"
    return f"{round(100 * value, digits) + 0.0:.{digits}f} %"


def rate(value: float | None) -> str:
    return "–" if value is None or missing(value) else f"{100 * value:g} %"


def seconds(value: float | None) -> str:
    """Three significant digits, never an exponent."""
    if value is None or missing(value):
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.3f}"


def missing(value: float | None) -> bool:
    return value is None or math.isnan(value)


def short(value: str, letters: int = LONG) -> str:
    """A long value by its two ends and a few digits of its hash: no two look alike."""
    if len(value) <= letters:
        return value
    end = letters // 2 - 5
    return f"{value[:end]}…{value[-end:]} #{short_hash(value)[:6]}"


def printable(text: object) -> str:
    """Text that every encoder and font machine takes: a file name on Linux may be any bytes."""
    return str(text).encode(errors="replace").decode()
