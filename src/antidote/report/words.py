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
TRACED = "; traced"  # in a defence, between its method and its tracer
LONG = 48  # letters of a value that is shown whole


@cache
def known() -> dict[str, dict[str, Any]]:
    return yaml.safe_load(Path(__file__).with_name("words.yaml").read_text())


def option(defence: str) -> str:
    """ "xlf_ptn" of "xlf_ptn, rho 0.1", "xlf_ptn; traced by fall" where a tracer is told too."""
    method, mark, tracer = defence.partition(TRACED)
    return method.split(", ", 1)[0] + mark + tracer.split(", ", 1)[0]


def defence(method: str, tracing: str, named: bool) -> str:
    """A method with what traced for it, `named` if need be: what has a look of its own."""
    if tracing == "none":
        return method
    return method + TRACED + (f" by {tracing}" if named else "")


def look(defence: str) -> dict[str, Any]:
    """`label`, `colour`, `marker`, `line` and `fill` of a method; a new one gets a spare colour.

    With a tracer it keeps its colour and marker, and gets the tracer's line and filling.
    """
    method, mark, tracing = defence.partition(TRACED)
    name, comma, variant = method.partition(", ")
    new = {"label": name.replace("_", " "), "colour": spare(name), "marker": "d", "line": "-."}
    found = {"fill": "full"} | known()["methods"].get(name, new)
    found |= {"label": found["label"] + comma + variant}
    if not mark:
        return found
    its = tracer(tracing.removeprefix(" by "))
    by = f" by {its['label']}" if tracing else ""
    label = f"{found['label']}, traced{by}"
    return found | {"label": label, "line": its["line"], "fill": its["fill"]}


def tracer(tracing: str) -> dict[str, Any]:
    """The same of a tracer, as "fall, distance 3"."""
    name, comma, variant = tracing.partition(", ")
    found = known()["tracers"].get(name)
    if found is None:
        line = (0, (6, 1.5, 1, 1.5))
        found = {"colour": spare(name), "marker": "d", "line": line, "fill": "none"}
        found |= {"label": name.replace("_", " ")}
    return found | {"label": found["label"] + comma + variant}


def spare(name: str) -> str:
    return SPARE[sum(map(ord, name)) % len(SPARE)]


def word(name: str) -> str:
    """What a data set, net or poison is called."""
    return known()["words"].get(name, name.replace("_", " "))


def in_order(defences: Iterable[str]) -> list[str]:
    """Methods as words.yaml lists them, unknown ones last; each is followed by its traced self."""
    order = list(known()["methods"])
    rank = {name: i for i, name in enumerate(order)}

    def place(defence: str) -> tuple[int, str, str, tuple[int, str]]:
        method, mark, tracing = defence.partition(TRACED)
        traced = tracer_place(tracing.removeprefix(" by "))
        return rank.get(option(method), len(order)), method, mark, traced

    return sorted(set(defences), key=place)


def tracers_in_order(tracings: Iterable[str]) -> list[str]:
    """None first, then as words.yaml lists them, unknown ones last."""
    return sorted(set(tracings), key=tracer_place)


def tracer_place(tracing: str) -> tuple[int, str]:
    order = ["", "none", *known()["tracers"]]
    name = option(tracing)
    return order.index(name) if name in order else len(order), tracing


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
