"""A sweep in MLflow: one parent with the grid and the report, and its jobs as children."""

import json
import os
import re
import shutil
import signal
import socket
import time
from contextlib import closing

import pytest
from sweeps import sweep
from tracked import NOTE, PARENT, cells, client_of, files, parents, runs, statuses

from antidote.engine.records import Marks, Records
from antidote.sweeps.axes import axes
from antidote.sweeps.parent import Parent, tidy

MLFLOW = "logger=mlflow"
GRID = ["unlearning=none,finetune", "poison.rate=0.05,0.1"]
JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


def with_database(place, database):
    (place / "output").mkdir()
    shutil.copy(database, place / "output/mlflow.db")
    return place


@pytest.fixture(scope="module")
def place(tmp_path_factory, database):
    return with_database(tmp_path_factory.mktemp("swept"), database)


@pytest.fixture
def new(tmp_path, database):
    """A folder whose output has a database."""
    return with_database(tmp_path, database)


@pytest.fixture(scope="module")
def swept(small, place):
    """A sweep of four cells."""
    return sweep(place, *small, MLFLOW, *GRID)


@pytest.fixture(scope="module")
def wider(small, place, swept):
    """One of six, four of which are done."""
    return sweep(place, *small, MLFLOW, GRID[0], "poison.rate=0.05,0.1,0.2")


def test_a_sweep_has_one_parent_with_its_jobs_as_children(swept):
    (parent,), children = parents(swept.output)[:1], cells(swept.output)[:4]
    assert parent.info.status == "FINISHED"
    assert [run.data.tags[PARENT] for run in children] == [parent.info.run_id] * 4
    assert {run.info.status for run in children} == {"FINISHED"}


def test_its_tags_are_the_axes_with_their_values(swept):
    parent, *_ = parents(swept.output)
    grid = {k: v for k, v in parent.data.tags.items() if k.startswith("grid.")}
    assert grid == {"grid.unlearning": "none, finetune", "grid.poison.rate": "0.05, 0.1"}
    assert parent.info.run_name == "unlearning × poison.rate, 4 jobs"


def test_what_differs_comes_first_in_a_childs_name(swept):
    assert [run.info.run_name for run in cells(swept.output)[:4]] == [
        "none 5 % | 10 % badnets digits seed 0",
        "none 10 % | 10 % badnets digits seed 0",
        "finetune 5 % | 10 % badnets digits seed 0",
        "finetune 10 % | 10 % badnets digits seed 0",
    ]


def test_the_report_is_among_its_files(swept):
    parent, *_ = parents(swept.output)
    assert files(swept.output, parent) == {"multirun.yaml", "report"}
    there = {f"report/{path.name}" for path in (swept.folder / "report").iterdir()}
    assert {"report/index.html", "report/cells.csv"} <= there
    assert files(swept.output, parent, "report") == there


def test_its_note_is_the_table_of_all_jobs_and_leads_to_their_runs(swept):
    parent, *_ = parents(swept.output)
    said = parent.data.tags[NOTE]
    assert said.startswith("4 ok; figures in % ([all runs](#/experiments/1/runs?viewStateShareKey=")
    lines = [line.split(" | ") for line in said.splitlines() if line.startswith("| [")]
    led = [re.search(r"\[(\d)\]\(#/experiments/1/runs/(\w+)\)", line[0]).groups() for line in lines]
    assert led == [(str(i), run.info.run_id) for i, run in enumerate(cells(swept.output)[:4])]
    assert [line[1] for line in lines] == [f"&ensp;{m}" for m in ["none"] * 2 + ["finetune"] * 2]
    assert "python run.py -m " in said
    assert "unlearning=none,finetune" in said


def test_the_shell_leads_to_it(swept):
    parent, *_ = parents(swept.output)
    assert f"127.0.0.1:5000/#/experiments/1/runs/{parent.info.run_id}" in swept.out


def test_nothing_is_left_but_what_tells_the_jobs_of_it(swept):
    assert not list((swept.output / "sweeps").iterdir())
    told = json.loads((swept.folder / "parent.json").read_text())
    assert told["run_id"] == parents(swept.output)[0].info.run_id


def test_what_was_done_before_stays_where_it_is_and_is_led_to(swept, wider):
    first, second = parents(wider.output)
    children = cells(wider.output)
    assert [run.data.tags[PARENT] for run in children] == (
        [first.info.run_id] * 4 + [second.info.run_id] * 2
    )
    assert second.data.tags["done_before"] == "4"
    said = second.data.tags[NOTE]
    assert said.startswith("6 ok; figures in %")
    assert said.count("ok (before)") == 4
    assert all(f"/runs/{run.info.run_id})" in said for run in children)


def test_a_sweep_that_finds_everything_done_makes_none(small, place, swept, wider):
    before = len(runs(wider.output))
    again = sweep(place, *small, MLFLOW, *GRID)
    assert (again.status, again.started(), len(runs(again.output))) == (0, [], before)


def test_what_is_sent_to_mlflow_later_is_a_child_too(small, new):
    sweep(new, *small, "seed=0,1")
    sent = sweep(new, *small, "seed=0,1", MLFLOW)
    (parent,) = parents(sent.output)
    assert [run.data.tags[PARENT] for run in cells(sent.output)] == [parent.info.run_id] * 2


def test_without_a_logger_there_is_none(small, tmp_path):
    left = sweep(tmp_path, *small, "seed=0,1")
    assert not list(left.output.glob("mlflow*"))
    assert not (left.output / "sweeps").exists()
    assert not (left.folder / "parent.json").exists()


@pytest.mark.slow  # workers import everything anew; test_kills has a quick one with two jobs
def test_jobs_in_other_processes_are_its_children(small, new):
    left = sweep(new, *small, MLFLOW, "seed=0,1,2", *JOBLIB)
    (parent,), children = parents(left.output), cells(left.output)
    assert [run.data.tags[PARENT] for run in children] == [parent.info.run_id] * 3
    assert sorted(run.info.run_name for run in children) == [
        f"seed {k} | none 10 % badnets 1 % digits" for k in range(3)
    ]


def test_a_cell_is_the_same_in_a_sweep_and_alone(small, new, launch):
    alone = launch(new, "unlearning=none", "seed=1", "save_models=false", "pictures=false")
    left = sweep(new, *small, MLFLOW, "seed=1,2")
    assert alone["id"] in left.records


def test_a_failed_job_fails_its_parent_which_tells_of_it(small, new):
    left = sweep(new, *small, MLFLOW, "poison.target_class=0,99")
    (parent,), children = parents(left.output), cells(left.output)
    assert (left.status, parent.info.status) == (1, "FAILED")
    assert parent.data.tags[NOTE].startswith("1 ok, 1 failed; figures in %")
    assert files(left.output, parent) == {"multirun.yaml", "report"}
    failed = children[1].data.tags[NOTE]
    assert failed.startswith("**Failed:** poison.target_class=99 does not")
    assert "poison.target_class=99" in failed.partition("```")[2]
    assert "config.yaml" in files(left.output, children[1])


def test_runs_keep_their_names_where_some_are_given(small, new):
    left = sweep(new, *small, MLFLOW, "seed=0,1", "logger.run_name=mine")
    assert [run.info.run_name for run in parents(left.output)] == ["mine"]
    assert [run.info.run_name for run in cells(left.output)] == ["seed 0 | mine", "seed 1 | mine"]


def test_children_are_those_that_are_tracked_where_the_parent_is(small, new):
    left = sweep(new, *small, MLFLOW, "logger.experiment_name=one,two")
    one, two = (runs(left.output, name) for name in ("one", "two"))
    assert [run.data.tags.get(PARENT) for run in one] == [None, one[0].info.run_id]
    # the second has the same result, which is sent there
    assert [run.data.tags.get(PARENT) for run in two] == [None]


def test_a_sweep_of_which_some_is_tracked_has_a_parent(small, new):
    left = sweep(new, *small, "logger=none,mlflow", "seed=0,1")
    (parent,) = parents(left.output)
    assert [run.data.tags[PARENT] for run in cells(left.output)] == [parent.info.run_id] * 2


# trouble
@pytest.fixture
def deaf():
    """An address at which nobody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def test_a_dead_server_loses_nothing_and_costs_seconds(small, tmp_path, deaf):
    began = time.monotonic()
    left = sweep(tmp_path, *small, MLFLOW, "seed=0,1", f"logger.tracking_uri={deaf}")
    assert left.status == 0
    assert {r["status"] for r in left.records.values()} == {"ok"}
    assert {r["mlflow"] for r in left.records.values()} == {None}
    assert (left.folder / "report/index.html").exists()
    assert not (left.folder / "parent.json").exists()
    assert not list((left.output / "sweeps").iterdir())
    assert left.log.count(f"no MLflow server answers at {deaf}") == 3  # the parent, and each job
    assert time.monotonic() - began < 30


def test_an_experiment_that_was_deleted_is_one_sentence_before_any_job(small, new):
    first = sweep(new, *small, MLFLOW, "seed=0,1")
    client = client_of(first.output)
    client.delete_experiment(client.get_experiment_by_name("antidote").experiment_id)
    left = sweep(new, *small, MLFLOW, "seed=2,3")
    assert left.status.startswith("error: logger.experiment_name=antidote was deleted in sqlite")
    assert left.started() == []
    assert not list((left.output / "sweeps").glob("*.running"))


def test_a_sweep_that_is_told_to_stop_ends_its_parent(small, new, monkeypatch):
    from antidote.model.classifier import Classifier

    def stopping(self, batch):
        os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch)

    step = Classifier.training_step
    monkeypatch.setattr(Classifier, "training_step", stopping)
    left = sweep(new, *small, MLFLOW, "seed=0,1")
    (parent,) = parents(left.output)
    assert (left.status, parent.info.status) == (143, "FAILED")
    assert "not run" in parent.data.tags[NOTE]


def test_a_killed_sweeps_parent_is_ended_by_the_next_sweep(small, new, monkeypatch):
    monkeypatch.setattr(Parent, "finish", lambda *_: None)
    killed = sweep(new, *small, MLFLOW, "seed=0,1")
    monkeypatch.undo()
    (parent,) = parents(killed.output)
    assert parent.info.status == "RUNNING"
    (left,) = (killed.output / "sweeps").glob("*.lock")
    left.unlink()  # which the kernel does for a process that is gone
    again = sweep(new, *small, MLFLOW, "seed=0,1")
    assert again.started() == []
    assert [run.info.status for run in parents(again.output)] == ["KILLED"]
    assert statuses(again.output) == {"FINISHED": 2}
    assert not list((again.output / "sweeps").iterdir())


def test_a_sweep_at_work_is_not_ended_by_another(small, new):
    left = sweep(new, *small, MLFLOW, "seed=0,1")
    marks = Marks(left.output / "sweeps")
    (parent,) = parents(left.output)
    client_of(left.output).update_run(parent.info.run_id, status="RUNNING")
    told = {"uri": f"sqlite:///{left.output}/mlflow.db", "experiment": "antidote"}
    with marks.lock("mine"):
        marks.mark("mine", mlflow={**told, "attempt": parent.data.tags["attempt"]})
        tidy(left.output)
        assert parents(left.output)[0].info.status == "RUNNING"
    tidy(left.output)
    assert parents(left.output)[0].info.status == "KILLED"


def test_a_killed_sweep_is_left_as_it_is_while_nobody_can_be_told(tmp_path, deaf):
    marks = Marks(tmp_path / "sweeps")
    (tmp_path / "sweeps").mkdir()
    for name in ("one", "two"):
        marks.mark(name, mlflow={"uri": deaf, "experiment": "antidote", "attempt": name})
    tidy(tmp_path)
    assert [id for id, _ in marks.marks()] == ["one", "two"]


def test_a_mark_of_a_database_that_is_broken_by_now_keeps_no_sweep_from_its_jobs(small, tmp_path):
    marks, odd = Marks(tmp_path / "output/sweeps"), tmp_path / "odd.db"
    odd.write_bytes(b"no database")
    marks.folder.mkdir(parents=True)
    marks.mark("a", mlflow={"uri": f"sqlite:///{odd}", "experiment": "antidote", "attempt": "a"})
    assert sweep(tmp_path, *small, "seed=0,1").status == 0


def test_a_parent_or_a_note_that_cannot_be_made_keeps_no_job_from_its_run(small, new, monkeypatch):
    def full(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr("antidote.sweep.parent.Parent.start", full)
    monkeypatch.setattr("antidote.task.run.note", full)
    left = sweep(new, *small, MLFLOW, "seed=0,1")
    assert left.status == 0
    assert "the sweep has no run of its own in MLflow: No space left" in left.log
    assert statuses(left.output) == {"FINISHED": 2}
    assert {(r.data.tags.get(PARENT), r.data.tags[NOTE]) for r in cells(left.output)} == {
        (None, "")
    }
    assert parents(left.output) == []


def test_a_folder_that_is_used_again_has_no_parent_of_an_earlier_sweep(small, new):
    first = sweep(new, *small, MLFLOW, "seed=0,1")
    sweep(new, *small, "seed=2,3", folder=first.folder)
    assert not (first.folder / "parent.json").exists()


def test_what_mlflow_lost_at_the_end_of_a_job_is_sent_again(small, new, monkeypatch):
    from antidote.engine.mlflow import Mlflow

    monkeypatch.setattr(Mlflow, "answers", lambda self: setattr(self, "run_id", None))
    lost = sweep(new, *small, MLFLOW, "seed=0,1")
    monkeypatch.undo()
    assert {r["mlflow"] for r in lost.records.values()} == {None}
    sent = sweep(new, *small, MLFLOW, "seed=0,1")
    assert statuses(sent.output)["FINISHED"] == 2
    assert all(r["mlflow"] for r in Records(sent.output))


def test_axes_are_what_differs_in_the_order_in_which_it_was_typed():
    jobs = [["seed=0", "a=1", "b='0.03'"], ["seed=0", "a=2", "b='0.03'"], ["seed=0", "a=1", "b=2"]]
    assert axes(jobs) == {"a": ["1", "2"], "b": ["0.03", "2"]}
    assert axes([["a=1", "~b"], ["a=1"]]) == {"~b": ["", ""]}
    assert axes([["a=1"], ["a=1", "b=2"]]) == {"b": ["", "2"]}
    assert axes([["a=1"]]) == {}


def test_a_grid_with_more_jobs_than_a_note_holds_says_how_many_are_left_out():
    from antidote.report.run.note import MOST, sweep_note

    where = {"address": f"#/experiments/1/runs/{'0' * 32}"}
    rows = [
        {"job": str(k), "status": "ok", "overrides": [f"seed={k}"], "mlflow": where, "healed": 0.5}
        for k in range(400)
    ]
    said = sweep_note(rows, "python run.py -m seed=0,1", where)
    assert MOST - 200 < len(said) <= MOST
    shown = said.count("| [")
    assert f"and {400 - shown} more, in report/cells.csv" in said
    assert said.endswith("```")
