"""What is measured on a probe, and the measuring of all probes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from antidote.core import Probe


def evaluate(net: nn.Module, probes: Mapping[str, Probe]) -> dict[str, float]:
    """All probes of a net, as flat names: {"test/accuracy": 0.92, ...}."""
    return {
        f"{name}/{metric}": value
        for name, probe in probes.items()
        for metric, value in probe.measure(net, probe.loader).items()
    }


def healed(before: dict[str, float], after: dict[str, float]) -> float | None:
    """Share of the lost triggered accuracy that came back, unclipped; None where nothing was lost.

    (A_trig(after) - A_trig(before)) / (A_clean(before) - A_trig(before)):
    1 is a full recovery, 0 none.
    """
    if "trigger/accuracy" not in before:
        return None
    lost = before["test/accuracy"] - before["trigger/accuracy"]
    return None if lost == 0 else (after["trigger/accuracy"] - before["trigger/accuracy"]) / lost
