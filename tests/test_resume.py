"""A sweep does what is missing or failed, and skips what is done, whichever sweep did it."""

import json

import pytest
from mlflow import MlflowClient
from sweeps import set_up

from antidote.config import identity
from antidote.grid import composer

QUICK = ["unlearning=none", "pictures=false", "save_models=false"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def sweep(cli, small, place):
    """`sweep(name, *overrides)` is (process, sweep folder, runs in MLflow afterwards)."""

    def sweep(name, *overrides):
        folder = place / name
        where = [f"output={place}/output", f"hydra.sweep.dir={folder}"]
        done = cli("-m", *small, *QUICK, *where, *overrides)
        client = MlflowClient(f"sqlite:///{place}/output/mlflow.db")
        experiment = client.get_experiment_by_name("antidote").experiment_id
        return done, folder, len(client.search_runs([experiment]))

    return sweep


@pytest.fixture(scope="module")
def first(sweep):
    """One job that works, one that cannot."""
    return sweep("first", "poison.target_class=0,99")


@pytest.fixture(scope="module")
def second(sweep, first):
    """The same and a new one."""
    return sweep("second", "poison.target_class=0,99,1")


@pytest.fixture(scope="module")
def again(sweep, second):
    return sweep("again", "poison.target_class=0", "resume=false")


def result(folder, job):
    return json.loads((folder / job / "result.json").read_text())


def test_a_job_has_the_config_hash_that_was_worked_out_beforehand(first, small, place):
    with set_up(), composer() as compose:
        where = [f"output={place}/output"]
        for job, target in (("0", 0), ("1", 99)):
            cfg = compose([*small, *QUICK, *where, f"poison.target_class={target}"])
            assert result(first[1], job)["config_hash"] == identity(cfg)["config_hash"]


def test_a_done_cell_is_skipped_with_a_line_in_the_log(first, second):
    skipped = result(second[1], "0")
    assert skipped.pop("done_before") is True
    assert skipped.pop("folder") == str(first[1] / "0")
    skipped.pop("scale")
    assert skipped == result(first[1], "0")
    assert f"done before, in {first[1]}/0; resume=false does it again" in second[0].stdout


def test_failed_and_missing_cells_are_run(second):
    assert [result(second[1], job)["status"] for job in "012"] == ["ok", "failed", "ok"]
    assert "done_before" not in result(second[1], "2")


def test_a_skipped_cell_makes_no_second_run_in_mlflow(first, second):
    assert first[2] == 2
    assert second[2] == first[2] + 2  # the failed one again, and the new one


def test_the_table_tells_what_was_done_before(second):
    rows = [line.split() for line in second[0].stdout.splitlines()]
    assert any(row[:4] == ["0", "0", "ok", "(before)"] for row in rows)
    assert any(row[:3] == ["2", "1", "ok"] and row[3] != "(before)" for row in rows)
    assert "2 ok, 1 failed" in second[0].stdout


def test_resume_false_runs_a_done_cell_again(again, second):
    assert again[2] == second[2] + 1
    assert "done_before" not in result(again[1], "0")
    assert result(again[1], "0")["after"] == result(second[1], "0")["after"]


def test_a_plan_of_the_sweep_says_what_is_left_and_runs_nothing(again, cli, small, place):
    folder = place / "planned"
    typed = [*small, *QUICK, f"output={place}/output", f"hydra.sweep.dir={folder}"]
    done = cli("-m", "task=plan", *typed, "poison.target_class=0,1,2,99")
    assert done.returncode == 0, done.stderr
    said = "4 jobs are 4 different cells: 2 done, 1 failed, 1 missing"
    assert said in done.stdout
    assert not folder.exists()
