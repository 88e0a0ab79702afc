"""What MLflow is sent of a record: numbers under names that its pages sort well, and tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from antidote.engine.labels import flat, tracer
from antidote.metrics.table import table

Table = dict[str, list[Any]]
# MLflow's page of metrics sorts its sections by name and puts last what has none, so the headline
# is there twice: under its own names, for tables and filters, and in a section that comes first
HEADLINE = ("healed", "accuracy_drop", "attack_success", "seconds")
SECTION = "1 headline"
STATES = {"before": "before", "after": "after", "ceiling": "never poisoned"}
ONE_OF_MANY = re.compile(r"(.+)/(.+)/(\d+)")  # test/class_accuracy/3: a table's, not a chart's
CLASSES = "class_accuracy"
COUNTERS = ("try", "epoch")  # of a step, which MLflow counts itself


def numbers(record: Mapping[str, Any]) -> dict[str, Any]:
    """By name, the headline first. What was measured of one net is one section: "after/..."."""
    first = {name: record.get(name) for name in HEADLINE} | {"seconds": spent(record)}
    again = {f"{SECTION}/{name}": value for name, value in first.items()}
    own = {k: v for k, v in record.items() if k in table() and k not in first}
    if tracer(record) is None:
        own = {k: v for k, v in own.items() if not k.startswith("tracing/")}
    groups = (*STATES, "seconds", "search", "chosen", "tracing/evidence")
    found = {name: record.get(name) or {} for name in groups}
    return first | own | again | {k: v for name in groups for k, v in section(name, found[name])}


def spent(record: Mapping[str, Any]) -> float:
    """Seconds of the tracer and the method."""
    seconds = record["seconds"]
    return (seconds["unlearn"] or 0) + (seconds.get("trace") or 0)


def section(name: str, figures: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    where, _, inner = name.partition("/")
    for key, value in sorted(flat(figures, inner and f"{inner}.").items()):
        if not ONE_OF_MANY.fullmatch(key):
            yield f"{where}/{re.sub('[./]', '_', key)}", value


def steps(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tries of a search, or epochs of a method."""
    return [
        {f"unlearn/{k}": v for k, v in step.items() if k not in COUNTERS}
        for step in record["steps"]
    ]


def tables(record: Mapping[str, Any]) -> dict[str, Table]:
    """Columns by name: accuracies of the classes, and what became of an attack's targets."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for state, word in STATES.items():
        for key, value in (record.get(state) or {}).items():
            one = ONE_OF_MANY.fullmatch(key)
            if one is not None:
                probe, measure, k = one.groups()
                by_class = measure == CLASSES
                name, what = (measure, probe) if by_class else (probe, measure)
                found.setdefault(name, {}).setdefault(int(k), {})[f"{what} {word}"] = value
    return {name: as_table(name, rows, record["classes"]) for name, rows in found.items()}


def as_table(name: str, rows: Mapping[int, Mapping[str, Any]], classes: Sequence[str]) -> Table:
    ks = sorted(rows)
    head = {"class": [classes[k] for k in ks]} if name == CLASSES else {"number": ks}
    columns = dict.fromkeys(column for k in ks for column in rows[k])
    return head | {column: [rows[k].get(column) for k in ks] for column in columns}


def parameters(settings: Mapping[str, Any]) -> dict[str, Any]:
    """All settings, flat, without what only Hydra reads: _target_, _partial_."""
    return flat(public(settings))


def public(settings: Any) -> Any:
    if isinstance(settings, Sequence) and any(isinstance(v, Mapping) for v in settings):
        settings = {str(i): value for i, value in enumerate(settings)}
    if not isinstance(settings, Mapping):
        return settings
    return {k: public(v) for k, v in settings.items() if not re.fullmatch("_.+_", str(k))}
