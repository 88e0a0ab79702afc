"""MLflow: everything of a run arrives, and no trouble there ends one."""

import json
import logging
import multiprocessing
import shlex
import socket
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from antidote.core import BadInput
from antidote.engine import server
from antidote.engine.experiment import CELL
from antidote.engine.mlflow import Mlflow, clean, text
from antidote.engine.sent import parameters
from antidote.engine.tracking import Tracker

# a trigger that PTN needs several tries for
HARD = ["dataset.limit=null", "poison.rate=0.1", "discovery=50pct", "recipe.epochs=3"]


def runs(folder: Path, experiment: str = "antidote"):
    """(client, all runs of the store in this folder)"""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    return client, client.search_runs([client.get_experiment_by_name(experiment).experiment_id])


def sink(folder: Path, **about) -> Mlflow:
    about = {"tracking_uri": f"sqlite:///{folder}/mlflow.db", "experiment_name": "antidote"} | about
    return Mlflow(**{"artifact_location": f"{folder}/artifacts", **about})


def record(**about) -> dict:
    made = {"steps": [], "status": "ok", "healed": 0.5, "seconds": {"unlearn": 1.5}, "classes": []}
    return made | dict.fromkeys(("before", "after", "ceiling")) | about


def first_use(folder: Path, name: str, barrier) -> None:
    first_use_of(f"sqlite:///{folder}/mlflow.db", name, barrier)


def first_use_of(uri: str, name: str, barrier) -> None:
    barrier.wait(60)
    tracker = Mlflow(uri, "antidote", None)
    tracker.start(name, {"a": {"b": 1}}, {})
    tracker.series([{"loss": 1 / (i + 1), "accuracy": i / 20} for i in range(20)])
    tracker.finish(record(), [], "", None)
    assert tracker.run_id


def six_at_once(work, *arguments) -> list[int | None]:
    # imports once, so that all six start in the same moment
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["antidote.engine.mlflow"])
    barrier = context.Barrier(6)
    six = [
        context.Process(target=work, args=(*arguments, str(i), barrier), daemon=True)
        for i in range(6)
    ]
    for process in six:
        process.start()
    for process in six:
        process.join(120)
    return [process.exitcode for process in six]


def test_six_processes_that_use_an_empty_folder_at_once_lose_nothing(tmp_path):
    assert six_at_once(first_use, tmp_path) == [0] * 6
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


def test_the_record_says_where_the_run_is(tracked):
    left, client, run = tracked
    assert left["mlflow"]["run_id"] == run.info.run_id
    assert left["mlflow"]["uri"] == client.tracking_uri
    assert left["mlflow"]["address"].endswith(f"/runs/{run.info.run_id}")


def test_the_whole_resolved_config_arrives_as_a_file_and_as_parameters_that_people_read(tracked):
    left, client, run = tracked
    config = yaml.safe_load((left.folder / "config.yaml").read_text())
    sent = client.download_artifacts(run.info.run_id, "config.yaml")
    assert yaml.safe_load(Path(sent).read_text()) == config
    told = {clean(name): str(value) for name, value in parameters(config).items()}
    assert len(told) > 50
    assert told.items() <= run.data.params.items()
    assert not [name for name in run.data.params if "_target_" in name or "_partial_" in name]


def test_the_chosen_options_arrive_as_parameters(tracked):
    left, _, run = tracked
    for group in ("dataset", "model", "poison", "discovery", "unlearning"):
        assert run.data.params[f"choice.{group}"] == left[group]


def test_the_identity_of_the_cell_arrives_as_tags(tracked):
    left, _, run = tracked
    tags = run.data.tags
    assert (tags["cell"], tags["config_hash"]) == (left["id"], left["config_hash"])
    assert tags["command"] == left["command"]


def test_the_values_that_acted_arrive_as_tags(tracked):
    tags = tracked[2].data.tags
    assert {name: tags[name] for name in CELL} == {
        "unlearning": "xlf_ptn",
        "discovery": "50 %",
        "poison": "badnets",
        "rate": "10 %",
        "dataset": "digits, limit null",
        "model": "resnet9, width 0.125",
        "tracing": "none",
        "seed": "0",
    }


@pytest.mark.parametrize("when", ["before", "after"])
def test_all_measures_but_those_of_single_classes_arrive(tracked, when):
    left, _, run = tracked
    whole = {name: value for name, value in left[when].items() if "class_accuracy" not in name}
    told = {f"{when}/{name.replace('/', '_')}": value for name, value in whole.items()}
    assert len(told) > 4
    assert told.items() <= run.data.metrics.items()
    assert not [name for name in run.data.metrics if "test_class_accuracy" in name]


def test_accuracies_of_classes_arrive_as_one_table_with_their_names(tracked):
    left, client, run = tracked
    path = client.download_artifacts(run.info.run_id, "class_accuracy.json")
    table = json.loads(Path(path).read_text())
    assert table["columns"] == ["class", "test before", "test after"]
    assert table["data"] == [
        [name, *(left[when][f"test/class_accuracy/{k}"] for when in ("before", "after"))]
        for k, name in enumerate(left["classes"])
    ]
    known = json.loads(run.data.tags["mlflow.loggedArtifacts"])
    assert known == [{"path": "class_accuracy.json", "type": "table"}]


def test_the_summary_arrives(tracked):
    left, _, run = tracked
    for name in ("healed", "healed_train", "healed_raw", "accuracy_drop", "objective"):
        assert run.data.metrics[name] == left[name]
    for group in ("seconds", "search"):
        told = {f"{group}/{name}": value for name, value in left[group].items()}
        assert told.items() <= run.data.metrics.items()
    assert run.data.metrics["seconds"] == left["seconds"]["unlearn"] + left["seconds"]["trace"]


def test_the_headline_comes_first_on_the_pages_of_mlflow(tracked):
    """Its overview lists metrics as they came, its page of charts sections by their names."""
    headline, metrics = ["healed", "accuracy_drop", "attack_success", "seconds"], tracked[2].data
    came = [name for name in metrics.metrics if not name.startswith("train/")]
    assert came[:4] == headline
    sections = {name: name.rpartition("/")[0] for name in came}
    first = min(filter(None, sections.values()))
    assert {name for name in came if sections[name] == first} == {f"{first}/{h}" for h in headline}
    assert all(metrics.metrics[f"{first}/{name}"] == metrics.metrics[name] for name in headline)


def test_the_result_and_the_command_are_the_runs_note(tracked):
    left, _, run = tracked
    said = run.data.tags["mlflow.note.content"]
    assert f"healed **{100 * left['healed']:.2f} %**" in said.splitlines()[0]
    judged = left["judgement"]
    assert f"**Verdict:** {judged['word']}: " in said
    assert f"| clean accuracy | &ensp;{100 * left['clean_accuracy_before']:.2f} % " in said
    folded = said.partition("```\n")[2].removesuffix("\n```")
    assert shlex.split(folded.replace("\\\n", "")) == shlex.split(left["command"])


def test_each_try_of_ptn_arrives_as_a_step(tracked):
    left, client, run = tracked
    assert len(left["steps"]) > 3
    for name in left["steps"][0].keys() - {"try"}:
        history = client.get_metric_history(run.info.run_id, f"unlearn/{name}")
        assert [(m.step, m.value) for m in history] == [
            (i, step[name]) for i, step in enumerate(left["steps"])
        ]
    assert "unlearn/try" not in run.data.metrics


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
    assert {"result.json", "config.yaml", "samples.png", "victim.safetensors"} <= files.keys()
    assert arrived.keys() == files.keys() | {"class_accuracy.json"}
    assert all(
        Path(arrived[name]).read_bytes() == path.read_bytes() for name, path in files.items()
    )


def test_hydra_is_told_the_objective(tracked):
    left = tracked[0]
    assert left.objective == left["objective"] == left["healed"] - left["accuracy_drop"]


def test_a_run_without_mlflow_leaves_no_database(run, tmp_path):
    assert run("unlearning=none")["mlflow"] is None
    assert not list((tmp_path / "output").glob("mlflow*"))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with a database."""
    place = tmp_path_factory.mktemp("base")
    sink(place).prepare()
    return place


@pytest.mark.parametrize("name", ["team/digits", "with space", "ünï", "50%", "a.b:c", 7])
def test_an_experiment_may_have_any_name_that_mlflow_allows(base, name):
    tracker = sink(base, experiment_name=name)
    tracker.start("one", {}, {})
    (base / "file.txt").write_text("x")
    tracker.finish(record(), [base / "file.txt"], "", None)
    client, (found,) = runs(base, str(name))
    assert found.info.status == "FINISHED"
    assert [item.path for item in client.list_artifacts(found.info.run_id)] == ["file.txt"]


@pytest.mark.parametrize("name", ["", "  ", "x" * 501])
def test_a_name_that_mlflow_refuses_is_one_sentence(base, name):
    with pytest.raises(BadInput, match=r"logger\.experiment_name=?.* is (empty|refused)") as said:
        sink(base, experiment_name=name).start("one", {}, {})
    assert "\n" not in str(said.value)


def test_an_experiment_that_was_deleted_is_one_sentence(base):
    tracker = sink(base, experiment_name="gone")
    tracker.prepare()
    tracker.client.delete_experiment(tracker.experiment_id)
    with pytest.raises(BadInput, match=r"experiment_name=gone was deleted .*; restore it there"):
        sink(base, experiment_name="gone").start("one", {}, {})


def test_an_experiment_that_somebody_else_made_gets_the_view_and_keeps_its_tags(base):
    tracker = sink(base, experiment_name="theirs")
    kind = {"mlflow.experimentKind": "genai_development"}
    id = tracker.client.create_experiment("theirs", tags=kind)
    tracker.start("one", {}, {})
    found = tracker.client.get_experiment(id).tags
    assert found["mlflow.experimentKind"] == "genai_development"
    shown = json.loads(found["mlflow.sharedViewState.antidote"])["selectedColumns"]
    assert shown[0] == "metrics.`healed`"


def test_what_is_no_number_is_left_out(base):
    tracker = sink(base, experiment_name="numbers")
    tracker.start("one", {}, {})
    tracker.series([{"a": float("nan"), "b": float("inf"), "c": None, "d": "x", "e": 1.5}])
    metrics = tracker.client.get_run(tracker.run_id).data.metrics
    assert metrics == {"e": 1.5}


ODD = b"caf\xe9".decode(errors="surrogateescape")


def test_names_that_are_not_unicode_arrive_with_replacements(base, tmp_path):
    assert text(ODD) == "caf?"
    tracker = sink(base, experiment_name="odd")
    tracker.start(ODD, {"folder": ODD}, {"command": f"python run.py x={ODD}"})
    tracker.fail(f"cannot read {ODD}", [], f"**{ODD}**")
    _, (found,) = runs(base, "odd")
    assert (found.info.status, found.info.run_name) == ("FAILED", "caf?")
    assert found.data.params["folder"] == "caf?"
    assert found.data.tags["error"] == "cannot read caf?"
    assert found.data.tags["mlflow.note.content"] == "**caf?**"


def test_a_killed_processs_run_is_ended_as_killed(base):
    dead = sink(base, experiment_name="killed")
    other = sink(base, experiment_name="killed")
    dead.start("one", {}, {"attempt": "a"})
    other.start("two", {}, {"attempt": "b"})
    sink(base, experiment_name="killed").killed("a")
    assert dead.client.get_run(dead.run_id).info.status == "KILLED"
    assert dead.client.get_run(other.run_id).info.status == "RUNNING"


def test_ending_a_killed_run_makes_no_database(tmp_path, caplog):
    sink(tmp_path).killed("0" * 32)
    assert not list(tmp_path.iterdir())
    assert not caplog.records


class Broken(RuntimeError): ...


@pytest.mark.parametrize("step", ["series", "finish", "fail"])
def test_what_fails_is_said_once_and_leaves_no_run_that_seems_to_go_on(
    base, monkeypatch, caplog, step
):
    tracker = sink(base, experiment_name="broken")
    tracker.start("one", {}, {})
    run_id = tracker.run_id

    def broken(*_, **__):
        raise Broken("the disk is full")

    for name in ("log_batch", "set_tag", "log_artifact"):
        monkeypatch.setattr(MlflowClient, name, broken)
    with caplog.at_level(logging.WARNING, "antidote"):
        if step == "fail":
            tracker.fail("no", [], "")
        if step == "series":
            tracker.series([{"a": 1.0}])
        tracker.finish(record(), [], "", None)
        tracker.series([{"a": 1.0}])
    (said,) = [r.getMessage() for r in caplog.records if r.name.startswith("antidote")]
    assert "(the disk is full); the run goes on without it" in said
    assert tracker.where() is None
    assert tracker.client.get_run(run_id).info.status == "FAILED"


@pytest.fixture
def mute():
    """The address of a server that takes calls and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def deaf():
    """An address at which nobody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
    return f"http://127.0.0.1:{port}"


@pytest.fixture(params=["mute", "deaf", "nobody"])
def down(request, monkeypatch):
    monkeypatch.setattr(server, "PATIENCE", 0.3)
    if request.param == "nobody":
        return "http://no.such.host.invalid:5000"
    return request.getfixturevalue(request.param)


def test_a_server_that_is_down_is_one_sentence_and_the_record_is_complete(run, down, caplog):
    with caplog.at_level(logging.WARNING, "antidote"):
        left = run("unlearning=none", "logger=mlflow", f"logger.tracking_uri={down}")
    said = [r.getMessage() for r in caplog.records if "MLflow" in r.getMessage()]
    assert len(said) == 1
    assert said[0].startswith(f"no MLflow server answers at {down} (")
    assert left["status"] == "ok"
    assert left["mlflow"] is None
    assert left["after"]["test/accuracy"] > 0


@pytest.mark.parametrize(("status", "silent"), [(200, ""), (404, ""), (503, "status 503")])
def test_any_answer_is_one_but_that_of_a_proxy_without_a_server(status, silent):
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as answering:
        threading.Thread(target=answering.handle_request, daemon=True).start()
        assert server.silent(f"http://127.0.0.1:{answering.server_port}/") == silent


def test_nowhere_can_be_written_to_and_says_nothing(tmp_path):
    nowhere = Tracker()
    nowhere.prepare()
    nowhere.start("one", {}, {"command": "x"})
    nowhere.series([{"a": 1.0}])
    nowhere.finish(record(), [], "", None)
    nowhere.fail("no", [], "")
    nowhere.end("FINISHED", "", [])
    nowhere.attach("x", [])
    assert nowhere.where() is nowhere.place() is None
    assert nowhere.holds(None)
    assert json.dumps(nowhere.where()) == "null"
