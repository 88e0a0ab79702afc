"""MLflow's experiments: found by name or made, by whichever process comes first."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from antidote.core.checks import BadInput, require
from antidote.engine.sent import HEADLINE

CELL = ("unlearning", "discovery", "poison", "rate", "dataset", "model", "tracing", "seed")
COLUMNS = [*(f"metrics.`{name}`" for name in HEADLINE), *(f"tags.`{name}`" for name in CELL)]
NAME = "attributes.`Run Name`"
VIEW = {
    "selectedColumns": COLUMNS,
    "columnOrder": [NAME, *COLUMNS],
    "columnWidths": {NAME: 300} | dict.fromkeys(COLUMNS, 110),
}
TAGS = {
    "mlflow.experimentKind": "custom_model_development",  # opens as machine learning, not as GenAI
    # what the table of runs shows at .../runs?viewStateShareKey=antidote
    "mlflow.sharedViewState.antidote": json.dumps(VIEW),
}


def check(name: str) -> None:
    require(
        bool(str(name).strip()),
        "logger.experiment_name is empty; give a name, as in logger.experiment_name=antidote",
    )


def found_or_made(client: MlflowClient, name: str, artifacts: str | None) -> str:
    """The experiment's id; several first writers may all want to make it."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            where = artifacts and Path(artifacts).expanduser().resolve().as_uri()
            return client.create_experiment(name, where, tags=TAGS)
        except MlflowException as error:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise BadInput(
                    f"logger.experiment_name={name} is refused by MLflow: "
                    f"{' '.join(str(error).split())}"
                ) from error
    require(
        found.lifecycle_stage == "active",
        f"logger.experiment_name={name} was deleted in {client.tracking_uri}; restore it there "
        "or choose another name",
    )
    for tag in TAGS.keys() - found.tags.keys():  # made by an earlier version, or by hand
        with suppress(MlflowException):  # not everybody may; it is only for the eye
            client.set_experiment_tag(found.experiment_id, tag, TAGS[tag])
    return found.experiment_id
