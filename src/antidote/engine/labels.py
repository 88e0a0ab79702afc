"""What a cell is called: by the values that acted, whatever options they came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

LONG = 40  # letters of a value that is shown whole
# which part of a name tells what an override of that key sets
PART = {
    "tracing": "unlearning",
    "discovery.share": "discovery",
    "discovery.count": "discovery",
    "poison_rate": "rate",
    "poison.rate": "rate",
}


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


def run_name(
    settings: Mapping[str, Any],
    choices: Mapping[str, str],
    axes: Sequence[str] = (),
    given: str | None = None,
) -> str:
    """Of a run in MLflow, if none is `given`.

    In a sweep over `axes`, keys of overrides, what they set comes first.
    """
    parts = name_parts(settings, choices)
    ahead = {PART.get(axis, axis): axis for axis in map(key_of, axes)}
    first = [parts.pop(p) if p in parts else told(a, settings, choices) for p, a in ahead.items()]
    rest = [given] if given else [*parts.values()]
    return " | ".join(" ".join(side) for side in (first, rest) if side)


def name_parts(settings: Mapping[str, Any], choices: Mapping[str, str]) -> dict[str, str]:
    share, traced = rate(settings), tracer(choices)
    return {
        "unlearning": choices["unlearning"] + (f" traced by {traced}" if traced else ""),
        "discovery": discovery(settings, choices["discovery"]),
        "poison": choices["poison"],
        **({} if share is None else {"rate": f"{100 * share:g} %"}),
        "dataset": choices["dataset"],
        "seed": f"seed {settings['seed']}",
    }


def told(key: str, settings: Mapping[str, Any], choices: Mapping[str, str]) -> str:
    """What an override of that key has set: "resnet18", "budget 4pct", "rho 0.1"."""
    if key in choices:
        return choices[key] if key == "model" else f"{key} {choices[key]}"
    value: Any = settings
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    said = "null" if value is None else str(value)
    return f"{name} {said if len(said) <= LONG else f'{said[: LONG - 1]}…'}"


def tags(
    settings: Mapping[str, Any], choices: Mapping[str, str], overrides: Sequence[str]
) -> dict[str, str]:
    """A cell by the values that acted: "5 %" however it was set, "xlf_ptn, rho 0.1"."""
    share, typed = rate(settings), dict.fromkeys(map(key_of, overrides))

    def option(group: str) -> str:
        own = [k for k in typed if k.startswith(f"{group}.") and k not in PART]
        return ", ".join([choices.get(group, "none"), *(told(k, settings, choices) for k in own)])

    return {
        "dataset": option("dataset"),
        "model": option("model"),
        "poison": option("poison"),
        "rate": "none" if share is None else f"{100 * share:g} %",
        "discovery": discovery(settings, choices["discovery"]),
        "tracing": option("tracing"),
        "unlearning": option("unlearning"),
        "seed": str(settings["seed"]),
    }


def key_of(override: str) -> str:
    """ "unlearning.rho" of "+unlearning.rho=0.1"."""
    return override.partition("=")[0].lstrip("+~")


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}."""
    out: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        out |= flat(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return out
