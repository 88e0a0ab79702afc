"""How things stand, from what cells left: real runs, a real failure, a process that was killed."""

import json
import os

import pytest
from forks import typed
from sweeps import sweep

from antidote.engine.records import Records
from antidote.sweeps.status import of_all, varied

GRID = ["logger=none", "pictures=false", "save_models=false", "unlearning=none"]


@pytest.fixture(scope="module")
def place(small, tmp_path_factory):
    """One cell done, one failed, one marked as being run by a process that is no more."""
    place = tmp_path_factory.mktemp("status")
    done = typed("-m", *small, *GRID, "poison.target_class=0,99", f"output={place}/output")
    assert done.returncode == 1
    return place


def status(place, small, *more):
    done = typed("-m", "task=status", *small, *GRID, *more, f"output={place}/output")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_of_a_grid_what_is_done_failed_and_missing(place, small):
    said = status(place, small, "poison.target_class=0,1,99")
    assert "3 cells: 1 done, 1 failed, 0 killed, 0 running, 1 missing" in said
    failed = next(line for line in said.splitlines() if "target_class=99" in line)
    assert "failed" in failed
    assert "poison.target_class=99" in failed
    assert any("target_class=1 " in line and "missing" in line for line in said.splitlines())


def test_as_json(place, small):
    found = json.loads(status(place, small, "poison.target_class=0,1,99", "json=true"))
    assert found["counts"] == {"done": 1, "failed": 1, "killed": 0, "running": 0, "missing": 1}
    by_name = {cell["name"]: cell for cell in found["cells"]}
    assert by_name["poison.target_class=99"]["detail"].startswith("poison.target_class=99")
    assert by_name["poison.target_class=0"]["folder"].startswith(str(place))


def test_of_everything_where_no_grid_is_named(place):
    done = typed("task=status", f"output={place}/output")
    assert done.returncode == 0, done.stderr
    assert "2 cells: 1 done, 1 failed, 0 killed, 0 running, 0 missing" in done.stdout


def test_whoever_is_at_work_is_named_and_whoever_was_killed(tmp_path):
    records = Records(tmp_path)
    records.folder.mkdir()
    for id in ("a", "b"):
        records.mark(id, config_hash="h", sweep=None)
    with records.lock("a"):
        at_work, killed = of_all(records)
    assert (at_work.status, killed.status) == ("running", "killed")
    assert at_work.detail.endswith(f"process {os.getpid()} on {os.uname().nodename}")
    assert at_work.detail.startswith("since 20")


def test_names_are_what_differs():
    assert varied([["a=1", "b=1"], ["a=1", "b=2"]]) == ["b=1", "b=2"]
    assert varied([["a=1"]]) == ["the only cell"]


def test_resume_failed_runs_nothing_else(place, small):
    again = sweep(place, *small, *GRID, "poison.target_class=0,1,99", "resume=failed")
    assert again.status == 1
    assert "1 ok, 1 failed, 1 left out" in again.out
    assert len(list(again.folder.glob("*/result.json"))) == 1
