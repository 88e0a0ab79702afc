"""What is measured on a probe, and the measuring of all probes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from antidote.core import Probe, Scores


def evaluate(net: nn.Module, probes: Mapping[str, Probe]) -> dict[str, float]:
    """All probes of a net, as flat names: {"test/accuracy": 0.92, ...}."""
    return {
        f"{name}/{metric}": value
        for name, probe in probes.items()
        for metric, value in probe.measure(net, probe.loader).items()
    }


def score(
    before: Mapping[str, float], after: Mapping[str, float], scores: Scores | None
) -> dict[str, float | None]:
    """The result of a run in few numbers, whatever the attack; shares, none of them clipped.

    With A the accuracy that the attack lowers (`scores.harmed`), C the one it leaves alone
    (`scores.intact`) and S the attack's success:
    healed = (A(after) - A(before)) / (C(before) - A(before)), 1 a full recovery, 0 none;
    healed_rel = A(after) / C(before); healed_asr = 1 - S(after) / S(before);
    healed_raw = the papers' column after; accuracy_drop = C(before) - C(after).
    None where a denominator is 0 or nothing was attacked.
    """
    if scores is None:
        drop = before["test/accuracy"] - after["test/accuracy"]
        return dict.fromkeys(("healed", "healed_rel", "healed_asr", "healed_raw")) | {
            "accuracy_drop": drop,
            "clean_accuracy_before": before["test/accuracy"],
            "clean_accuracy": after["test/accuracy"],
        }
    A, C, S = ((before[m], after[m]) for m in (scores.harmed, scores.intact, scores.success))
    return {
        "healed": share(A[1] - A[0], C[0] - A[0]),
        "healed_rel": share(A[1], C[0]),
        "healed_asr": share(S[0] - S[1], S[0]),
        "healed_raw": after[scores.column],
        "accuracy_drop": C[0] - C[1],
        "clean_accuracy_before": C[0],
        "clean_accuracy": C[1],
        "harmed_accuracy_before": A[0],
        "harmed_accuracy": A[1],
        "attack_success_before": S[0],
        "attack_success": S[1],
    }


def share(part: float, whole: float) -> float | None:
    return None if whole == 0 else part / whole
