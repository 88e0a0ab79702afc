"""Records as runs leave them, made by hand."""

import itertools
from pathlib import Path
from typing import Any

import pandas as pd

from antidote.engine.records import Records
from antidote.engine.results import results

DISCOVERIES: dict[str, dict] = {
    "one": {"share": None, "count": 1},
    "10pct": {"share": 0.1, "count": None},
}
TIME = itertools.count()


def settings(**about: Any) -> dict:
    """As a cell resolves them; `about` by dotted names with __ in place of the dots."""
    made: dict = {
        "seed": 0,
        "victim": None,
        "poison_rate": 0.01,
        "dataset": {"limit": 600},
        "model": {"net": {"width": 0.25}},
        "recipe": {"epochs": 2, "batch_size": 128},
        "poison": {"rate": 0.01, "seed": 0},
        "discovery": dict(DISCOVERIES["10pct"]),
        "unlearning": {"rho": 0.2},
    }
    for name, value in about.items():
        *path, last = name.split("__")
        here = made
        for key in path:
            here = here[key]
        here[last] = value
    return made


def record(id: str, **about: Any) -> dict:
    """A finished one of that id, also its config_hash and in its command, ended after all before.

    What `about` names takes the place of the record's own, or of a setting (`poison__rate`).
    """
    inner = {k: about.pop(k) for k in list(about) if "__" in k}
    seed, now = about.get("seed", 0), next(TIME)
    option = about.get("discovery", "10pct")
    found = {"discovery": dict(DISCOVERIES[option])} if option in DISCOVERIES else {}
    made = {
        "id": id,
        "config_hash": id,
        "seed": seed,
        "dataset": "digits",
        "model": "resnet9",
        "recipe": "one_cycle",
        "poison": "badnets",
        "discovery": option,
        "unlearning": "xlf_ptn",
        "command": f"python run.py seed={seed} x={id}",
        "commit": "c0ffee",
        "folder": f"/runs/{id}",
        "sweep": None,
        "began": "2026-01-01 00:00:00",
        "ended": f"2026-01-01 {now // 3600:02}:{now // 60 % 60:02}:{now % 60:02}",
        "mlflow": None,
        "status": "ok",
        "error": None,
        "settings": settings(seed=seed, **found, **inner),
        "classes": ["ant", "bee"],
        "n_poisoned": 600,
        "n_known": 60,
        "before": {},
        "after": {},
        "healed": 0.9,
        "healed_train": 0.8,
        "accuracy_drop": 0.01,
        "clean_accuracy_before": 0.9,
        "clean_accuracy": 0.89,
        "harmed_accuracy_before": 0.1,
        "harmed_accuracy": 0.82,
        "attack_success_before": 1.0,
        "attack_success": 0.1,
        "objective": 0.89,
        "seconds": {"fit": 50.0, "unlearn": 6.0, "evaluate": None},
        "cached": ["fit"],
        "search": {"tries": 7, "met": True, "cutoff": 3.0},
        "steps": [],
    }
    return made | about


def traced(id: str, tracer: str, rows: int = 540, **about: Any) -> dict:
    """A finished one of today, with a tracer and a net that never saw the poison.

    Recall and precision are 0.9 and 0.95 unless told, and 0 and null where no `rows` were found.
    """
    found = {"tracing/recall": 0.9, "tracing/recall_wrong": 0.8, "tracing/precision": 0.95}
    if not rows:
        found = {"tracing/recall": 0.0, "tracing/recall_wrong": 0.0, "tracing/precision": None}
    made = {
        "tracing": tracer,
        "tracing/rows": rows,
        **found,
        "tracing/evidence": {"distance": 11.0},
        "ceiling": {"test/accuracy": 0.91},
        "recovered": 0.97,
        "clean_accuracy_ceiling": 0.91,
        "harmed_accuracy_ceiling": 0.85,
        "attack_success_floor": 0.02,
        "seconds": {"fit": 50.0, "trace": 3.0, "unlearn": 6.0, "evaluate": 1.0},
    }
    return record(id, **made | about)


def untraced(id: str, **about: Any) -> dict:
    """A finished one of today without a tracer: it found 0 rows, in hardly any time."""
    made = traced(id, "none", rows=0, **about) | {"ceiling": None, "tracing/evidence": {}}
    made["seconds"] = made["seconds"] | {"trace": 0.0001}
    for name in ("recovered", "attack_success_floor"):
        del made[name]
    return {k: v for k, v in made.items() if not k.endswith("_ceiling")}


def failure(id: str, error: str, **about: Any) -> dict:
    """What is left of a run that failed."""
    whole = record(id, **about) | {"status": "failed", "error": error}
    kept = [*list(whole)[: list(whole).index("settings") + 1], *(about.keys() & {"tracing"})]
    return {name: whole[name] for name in kept}


def table(folder: Path, *records: dict) -> pd.DataFrame:
    """The results of an output folder with these records."""
    kept = Records(folder)
    for each in records:
        kept.write(each)
    return results(folder)
