"""What the figures of a run come to, in words: before anything is unlearned, and at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from antidote.core import Verdict

CHANCE = 1.5  # times 1/K: a victim that answers no more test images right knows nothing
BELIEVED = 0.5  # of the known samples: a victim that obeys fewer is hardly the poisoned one
LEFT, MUCH_LEFT = 0.1, 0.25  # of the poison
LOST, MUCH_LOST = 0.02, 0.1  # accuracy
CLASS_LOST, CLASS_GONE = 0.1, 0.3  # accuracy of one class
LEARNED = {"attack_success_before": "attack success", "gus_z_before": "z of the noise"}
MORE = "name more known samples, or look for the rest of the poison with tracing=features"
ALL = "all of it was known, so take another method, as unlearning=retrain"
UNTOLD = "what is left of this poison shows beside a net that never saw it; ceiling=true fits one"
Figures = Mapping[str, float]


def doubts(figures: Figures, believed: float | None, classes: int, verdict: Verdict) -> list[str]:
    """What makes unlearning pointless, seen before it begins.

    `figures`: measures of the victim; `believed`: the share of the known samples that it gives
    their stored labels.
    """
    found, clean = [], figures.get("test/accuracy", 1.0)
    if clean < CHANCE / classes:
        found.append(
            f"the victim answers {100 * clean:.1f} % of the test images right, as chance would: "
            "check its normalisation, the images' size and the order of the classes"
        )
    if believed is not None and believed < BELIEVED:
        found.append(
            f"the victim gives only {100 * believed:.1f} % of the known samples the labels that "
            "they were stored with: they are not what it learned, or normalisation, size or class "
            "order are not those of its training"
        )
    scores = verdict(figures, figures)
    told = next((name for name in LEARNED if scores.get(name) is not None), None)
    if scores["healed"] is None and told is not None:
        value = scores[told] or 0.0
        shown = f"{100 * value:.1f} %" if told.startswith("attack") else f"{value:.1f}"
        found.append(f"the attack was never learned ({LEARNED[told]} {shown}): nothing to heal")
    return found


def worst_class(before: Figures, after: Figures, classes: Sequence[str]) -> dict[str, Any]:
    """The class that lost most of its clean accuracy; {} where classes were not measured."""
    names = [f"test/class_accuracy/{k}" for k in range(len(classes))]
    if not all(name in before for name in names):
        return {}
    drops = [before[name] - after[name] for name in names]
    k = max(range(len(drops)), key=drops.__getitem__)
    return {
        "worst_class": classes[k],
        "worst_class_accuracy_before": before[names[k]],
        "worst_class_accuracy": after[names[k]],
        "worst_class_drop": drops[k],
    }


def judged(
    result: Mapping[str, Any], gentler: str, needs_ceiling: bool = False
) -> dict[str, str] | None:
    """`word` and `why`; None if untouched.

    The words: "good", "costly", "do not use", "nothing to heal" and, of an attack whose verdict
    `needs_ceiling` where there is none, "cannot tell". `gentler`: what to turn for less damage.
    Where there is no attack of ours to measure, what is left of the poison is the share of the
    known samples that are still believed.
    """
    if result["before"] == result["after"]:
        return None
    bad: list[str] = []
    costly: list[str] = []
    left, lost = remaining(result), result["accuracy_drop"] or 0.0
    gone = result.get("worst_class_drop") or 0.0
    if left is not None and left > LEFT:
        (bad if left > MUCH_LEFT else costly).append(
            f"{100 * left:.0f} % of the poison is left: {ALL if known_whole(result) else MORE}"
        )
    if lost > LOST:
        (bad if lost > MUCH_LOST else costly).append(f"{100 * lost:.1f} points of accuracy lost")
    if gone > CLASS_LOST:
        fall = (result[f"worst_class_accuracy{when}"] for when in ("_before", ""))
        told = " -> ".join(f"{100 * value:.1f}" for value in fall)
        (bad if gone > CLASS_GONE else costly).append(f"class {result['worst_class']} {told} %")
    damage = lost > LOST or gone > CLASS_LOST
    why = "; ".join([*bad, *costly, *[gentler] * bool(damage and gentler)])
    if bad:
        return {"word": "do not use", "why": why}
    if needs_ceiling and result["ceiling"] is None:
        return {"word": "cannot tell", "why": "; ".join([UNTOLD, *filter(None, [why])])}
    if left is None:
        return {"word": "nothing to heal", "why": why or "no poison was seen in the victim"}
    return {"word": "costly", "why": why} if costly else {"word": "good", "why": praise(left, lost)}


def known_whole(result: Mapping[str, Any]) -> bool:
    """Whether there was nothing left to discover, of an attack of ours."""
    return 0 < result["n_poisoned"] <= result["n_known"]


def praise(left: float, lost: float) -> str:
    gone = f"{100 * max(0.0, left):.0f} % of the poison is left"
    way = "gained" if lost < 0 else "lost"
    return f"{gone}, {100 * abs(lost):.1f} points of accuracy {way}"


def remaining(result: Mapping[str, Any]) -> float | None:
    """The share of the poison that is left; None where there was none to begin with."""
    if "residual" in result or "attack_success_before" in result:
        return result.get("residual")
    if result.get("healed") is not None:
        return 1 - result["healed"]
    believed = result.get("known_believed_before")
    return result["known_believed"] / believed if believed else None
