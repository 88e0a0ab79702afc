"""What a cell is called: by the values that acted, whatever options they came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def rate(settings: Mapping[str, Any]) -> float | None:
    """Share of the training set that was to be poisoned."""
    return settings["poison"].get("rate")


def discovery(settings: Mapping[str, Any], option: str) -> str:
    """ "10 %", "one sample", "7 samples", "named samples"; else the option's name."""
    known = settings["discovery"]
    if known.get("share") is not None:
        return f"{100 * known['share']:g} %"
    if known.get("count") is not None:
        return "one sample" if known["count"] == 1 else f"{known['count']} samples"
    return "named samples" if "ids" in known or "file" in known else option


def tracer(choices: Mapping[str, Any]) -> str | None:
    """The option that traced, of a cell's choices or its record: records were made before any."""
    option = choices.get("tracing", "none")
    return None if option == "none" else option


def run_name(settings: Mapping[str, Any], choices: Mapping[str, str]) -> str:
    """Of a run in MLflow."""
    share = rate(settings)
    traced = tracer(choices)
    method = choices["unlearning"] + (f" traced by {traced}" if traced else "")
    parts = [method, discovery(settings, choices["discovery"]), choices["poison"]]
    parts += [] if share is None else [f"{100 * share:g} %"]
    return " ".join([*parts, choices["dataset"], f"seed {settings['seed']}"])


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}."""
    out: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        out |= flat(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return out
