"""What a run found, as the keys of its record; docs/results.md explains them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from antidote.core import Data, History, Poison, Traced, compute
from antidote.engine.callback import Outcome
from antidote.engine.victim import Training
from antidote.metrics.judgement import judged, worst_class
from antidote.metrics.score import objective
from antidote.recipe import Recipe


def summary(
    data: Data,
    poison: Poison,
    known: Tensor,
    training: Training,
    done: Outcome,
    ceiling: Mapping[str, float] | None,
    recipe: Recipe,
    gentler: str,
) -> dict[str, Any]:
    """Shares in 0..1, seconds of the wall clock; what has no meaning is None.

    `gentler`: what to turn where the method did too much damage.
    """
    history = done.history
    whole = recipe.sample_gradients(len(poison.train))
    gradients = done.traced.sample_gradients + history.sample_gradients
    scores = told(poison.verdict(done.before, done.after, ceiling))
    fitted = ["fit"] * (training.restored and training.seconds is not None)
    traced = ["trace"] * bool(done.trace_saved)
    result = {
        "classes": list(data.classes),
        "attacked_classes": attacked(data, poison),
        "n_train": len(poison.train),
        # of the clean rows, so that added ones are the rate that was asked for
        "poison_rate": len(poison.indices) / len(data.train),
        "n_poisoned": len(poison.indices),
        "n_known": len(known),
        **told(tracing(poison, known, done.traced)),
        "before": told(done.before),
        "after": told(done.after),
        "known_believed_before": done.believed[0],
        "known_believed": done.believed[1],
        **told(worst_class(done.before, done.after, data.classes)),
        "ceiling": told(ceiling),
        **scores,
        "objective": objective(scores),
        "seconds": {
            "fit": training.seconds,
            "trace": done.trace_seconds,
            "unlearn": done.unlearn_seconds,
            **({} if history.chosen is None else {"tune": done.tune_seconds}),
            "evaluate": done.evaluate_seconds,
        },
        "cached": [*fitted, *traced, *["unlearn"] * bool(history.saved)],
        "sample_gradients": gradients,
        "forwards": done.forwards,
        "compute_fraction": compute(gradients, done.forwards) / whole,
        **tuning(history, whole),
        "search": told(history.search),
        "chosen": told(history.chosen),
        "steps": told(history.steps),
        "epochs": told(training.epochs),
    }
    return result | {"judgement": judged(result, gentler, poison.verdict.needs_ceiling)}


def attacked(data: Data, poison: Poison) -> dict[str, list[str]]:
    """Names of the classes that the attack is about, by setting."""
    return {what: [data.classes[k] for k in found] for what, found in poison.classes.items()}


def tuning(history: History, whole: int) -> dict[str, float]:
    """What trials took, where settings were chosen by some."""
    chosen = history.chosen
    return {} if chosen is None else {"tuning_fraction": chosen["compute"] / whole}


def tracing(poison: Poison, known: Tensor, traced: Traced) -> dict[str, Any]:
    """How much of the hidden poison was found, in shares of 0..1; NaN: a share of nothing."""
    hidden = poison.indices[~torch.isin(poison.indices, known)]
    wrong = hidden[poison.train.y[hidden] != poison.truth[hidden]]
    found = torch.isin(traced.rows, hidden).double()
    return {
        "tracing/rows": len(traced.rows),
        "tracing/recall": torch.isin(hidden, traced.rows).double().mean(),
        "tracing/recall_wrong": torch.isin(wrong, traced.rows).double().mean(),
        # of data that came poisoned nobody here can tell
        "tracing/precision": found.mean() if len(poison.indices) else math.nan,
        "tracing/evidence": dict(traced.evidence),
    }


def told(thing: Any) -> Any:
    """A value as a record holds it: None in place of NaN and infinities."""
    if hasattr(thing, "item"):  # a number of torch or numpy
        thing = thing.item()
    if isinstance(thing, float):
        return thing if math.isfinite(thing) else None
    if hasattr(thing, "items"):
        return {key: told(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [told(value) for value in thing]
    return thing
