"""What MLflow holds of an output folder."""

from collections import Counter
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

PARENT, NOTE = "mlflow.parentRunId", "mlflow.note.content"


def client_of(output: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{output}/mlflow.db")


def runs(output: Path, experiment: str = "antidote") -> list[Run]:
    """All of them, oldest first."""
    client = client_of(output)
    found = client.get_experiment_by_name(experiment)
    how = {"order_by": ["attributes.start_time"]}
    return client.search_runs([found.experiment_id], **how) if found else []


def parents(output: Path) -> list[Run]:
    """Those of sweeps."""
    return [run for run in runs(output) if "cell" not in run.data.tags]


def cells(output: Path) -> list[Run]:
    """Those of single runs and of jobs."""
    return [run for run in runs(output) if "cell" in run.data.tags]


def statuses(output: Path) -> Counter:
    """How many cells are in each status."""
    return Counter(run.info.status for run in cells(output))


def files(output: Path, run: Run, below: str | None = None) -> set[str]:
    return {item.path for item in client_of(output).list_artifacts(run.info.run_id, below)}
