"""MLflow: first use by several processes at once, everything of a run, and runs that fail."""

import math
import multiprocessing
from pathlib import Path

import pytest
import yaml
from lightning.pytorch.loggers import MLFlowLogger
from mlflow import MlflowClient

from antidote.tracking import Tracker, clean, ensure_store, flat

# a trigger that PTN needs several tries for
HARD = ["dataset.limit=null", "poison.rate=0.1", "discovery=50pct", "recipe.epochs=3"]


def runs(folder: Path):
    """(client, all runs of the store in this folder)"""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    return client, client.search_runs([client.get_experiment_by_name("antidote").experiment_id])


def first_use(folder: Path, name: str, barrier) -> None:
    uri, artifacts = f"sqlite:///{folder}/mlflow.db", f"{folder}/artifacts"
    barrier.wait(60)
    ensure_store(uri, "antidote", artifacts)
    logger = MLFlowLogger("antidote", run_name=name, tracking_uri=uri, artifact_location=artifacts)
    tracker = Tracker(logger)
    for step in range(20):
        tracker.metrics({"loss": 1 / (step + 1), "accuracy": step / 20}, step)
    tracker.close("FINISHED")


def test_six_processes_that_use_an_empty_folder_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context(
        "forkserver"
    )  # imports once, so that all six start in the same moment
    context.set_forkserver_preload(["antidote.tracking"])
    barrier = context.Barrier(6)
    six = [
        context.Process(target=first_use, args=(tmp_path, str(i), barrier), daemon=True)
        for i in range(6)
    ]
    for process in six:
        process.start()
    for process in six:
        process.join(120)
    assert [process.exitcode for process in six] == [0] * 6
    client, found = runs(tmp_path)
    assert sorted(run.info.run_name for run in found) == list("012345")
    assert {run.info.status for run in found} == {"FINISHED"}
    for run in found:
        history = client.get_metric_history(run.info.run_id, "accuracy")
        assert [(m.step, m.value) for m in history] == [(step, step / 20) for step in range(20)]


@pytest.fixture(scope="module")
def tracked(launch, tmp_path_factory):
    """A run of three epochs with MLflow: (result, client, the run in MLflow)."""
    place = tmp_path_factory.mktemp("tracked")
    left = launch(place, "logger=mlflow", *HARD)
    client, (run,) = runs(place / "output")
    return left, client, run


def test_a_run_that_comes_to_its_end_is_finished(tracked):
    assert tracked[2].info.status == "FINISHED"


def test_the_whole_resolved_config_arrives_as_parameters(tracked):
    left, _, run = tracked
    config = flat(yaml.safe_load((left.folder / "config.yaml").read_text()))
    assert len(config) > 50
    assert {
        clean(name): str(value) for name, value in config.items()
    }.items() <= run.data.params.items()


def test_the_chosen_options_arrive_as_parameters(tracked):
    left, _, run = tracked
    for group in ("dataset", "model", "poison", "discovery", "unlearning"):
        assert run.data.params[f"choice.{group}"] == left[group]


@pytest.mark.parametrize("when", ["before", "after"])
def test_all_measures_arrive(tracked, when):
    left, _, run = tracked
    assert {
        f"{when}/{name}": value for name, value in left[when].items()
    }.items() <= run.data.metrics.items()


def test_the_summary_arrives(tracked):
    left, _, run = tracked
    for name in ("healed", "healed_raw", "accuracy_drop", "objective", "sample_gradients"):
        assert run.data.metrics[name] == left[name]
    for group in ("seconds", "search"):
        assert all(
            run.data.metrics[f"{group}/{name}"] == value for name, value in left[group].items()
        )


def test_each_try_of_ptn_arrives_as_a_step(tracked):
    left, client, run = tracked
    assert len(left["steps"]) > 3
    for name in left["steps"][0]:
        history = client.get_metric_history(run.info.run_id, f"unlearn/{name}")
        assert [(m.step, m.value) for m in history] == [
            (i, step[name]) for i, step in enumerate(left["steps"])
        ]


def test_the_victims_loss_arrives_once_per_epoch_and_falls(tracked):
    _, client, run = tracked
    loss = [m.value for m in client.get_metric_history(run.info.run_id, "train/loss")]
    assert len(loss) == 3
    assert loss[0] > loss[1] > loss[2]


def test_every_file_of_a_run_arrives_byte_for_byte(tracked):
    left, client, run = tracked
    files = {path.name: path for path in left.folder.iterdir() if path.is_file()}
    names = [item.path for item in client.list_artifacts(run.info.run_id)]
    arrived = {name: client.download_artifacts(run.info.run_id, name) for name in names}
    assert arrived.keys() == files.keys()
    assert all(
        Path(arrived[name]).read_bytes() == path.read_bytes() for name, path in files.items()
    )


def test_hydra_is_told_the_objective(tracked):
    assert (
        tracked[0].objective
        == tracked[0]["objective"]
        == tracked[0]["healed"] - tracked[0]["accuracy_drop"]
    )


def test_in_a_sweep_a_failed_job_has_no_objective(run):
    left = run("poison.target_class=99", "hydra.mode=MULTIRUN")
    assert left["status"] == "failed"
    assert math.isnan(left.objective)


@pytest.mark.parametrize(
    "moment", ["recipe.epochs=1", "recipe.epochs=null recipe.steps=1"], ids=["early", "last"]
)
def test_a_fit_that_diverges_is_a_failed_run_and_leaves_no_victim(run, tmp_path, moment):
    # in an early step, so that the next loss tells;
    # and in the last one, so that only the weights do
    with pytest.raises(SystemExit, match="not finite; a lower learning rate"):
        run("logger=mlflow", "recipe.schedule.max_lr=1e39", *moment.split())
    _, (failed,) = runs(tmp_path / "output")
    assert failed.info.status == "FAILED"
    assert "not finite" in failed.data.tags["error"]
    assert [path.suffix for path in (tmp_path / "output/cache/victims").iterdir()] == [".lock"]


def test_a_run_without_mlflow_leaves_no_store(run, tmp_path):
    run("unlearning=none")
    assert not list((tmp_path / "output").glob("mlflow*"))
