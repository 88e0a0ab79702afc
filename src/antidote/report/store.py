"""Runs as MLflow holds them, as a table: which of them stand for a cell, and which failed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run

CHOICES = ("poison", "dataset", "model", "recipe", "discovery", "unlearning")
METRICS = (
    "healed",
    "healed_rel",
    "healed_asr",
    "healed_raw",
    "accuracy_drop",
    "clean_accuracy_before",
    "clean_accuracy",
    "harmed_accuracy_before",
    "harmed_accuracy",
    "attack_success_before",
    "attack_success",
    "objective",
    "n_poisoned",
    "n_known",
    "sample_gradients",
    "seconds/fit",
    "seconds/unlearn",
    "seconds/evaluate",
    "search/met",
    "search/tries",
    "search/cutoff",
    "search/dampened",
)
PAGE = 1000  # runs per request


def read_runs(uri: str, experiment: str) -> pd.DataFrame:
    """One row per run, oldest first; empty if the store or the experiment is not there.

    `params` holds the run's whole flat configuration.
    """
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return pd.DataFrame()  # the client would create it
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return pd.DataFrame()
    rows: list[dict[str, Any]] = []
    token: str | None = None
    while True:
        page = client.search_runs([found.experiment_id], max_results=PAGE, page_token=token)
        rows += [row(run) for run in page]
        token = page.token
        if not token:
            break
    rows.sort(key=lambda r: r["ended"])
    return pd.DataFrame(rows)


def row(run: Run) -> dict[str, Any]:
    params, metrics, tags = run.data.params, run.data.metrics, run.data.tags
    chosen = {group: params.get(f"choice.{group}", "unknown") for group in CHOICES}
    about = {
        "config_hash": tags.get("config_hash", run.info.run_id),
        **chosen,
        "method": chosen["unlearning"],
        "rate": number(params.get("poison_rate")),
        "share": number(params.get("discovery.share")),
        "width": number(params.get("model.net.width")),
        "seed": params.get("seed", ""),
    }
    numbers = {name.replace("/", "_"): metrics.get(name, math.nan) for name in METRICS}
    origin = {name: tags.get(name, "") for name in ("command", "commit", "error")}
    return {
        **about,
        **numbers,
        **origin,
        "run_id": run.info.run_id,
        "status": run.info.status,
        "ended": run.info.end_time or math.inf,
        "params": dict(params),
    }


def number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def finished(runs: pd.DataFrame) -> pd.DataFrame:
    """The newest finished run of each cell."""
    done = runs[runs["status"] == "FINISHED"]
    return done.drop_duplicates("config_hash", keep="last").reset_index(drop=True)


def unfinished(runs: pd.DataFrame) -> pd.DataFrame:
    """The newest run of each cell that no run finished."""
    done = set(runs.loc[runs["status"] == "FINISHED", "config_hash"])
    rest = runs[~runs["config_hash"].isin(done)]
    return rest.drop_duplicates("config_hash", keep="last").reset_index(drop=True)
