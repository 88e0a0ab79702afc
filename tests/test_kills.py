"""Sweeps whose processes are killed or stopped: nothing is lost, nothing is done twice."""

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path

import pytest
import tracked
from sweeps import LAUNCHERS, PLAIN, begun, set_up

from antidote.engine.records import Records
from antidote.sweeps.grid import cells
from antidote.sweeps.run import KILLED, Sweep

HERE = Path(__file__).parent
(JOBLIB,) = LAUNCHERS["joblib"].values
OTHERS = [param for name, param in LAUNCHERS.items() if name != "joblib"]
GRID = [
    "dataset=digits",
    "dataset.limit=600",
    "model.net.width=0.125",
    "recipe.epochs=4",
    "threads=1",
    "pictures=false",
    "save_models=false",
    "progress=false",
    "logger=mlflow",
]
SHORT = ["seed=0,1", "unlearning=none,xlf,finetune"]
FULL = ["seed=0,1", "discovery=10pct,50pct", "unlearning=none,retrain,finetune,ssd,xlf,xlf_ptn"]


# what a launcher does is told by marks and records alone
class Launcher:
    """Does the jobs in turn; those whose seed is in `deadly` kill their process, and the launch.

    `deadly[seed]`: how many times. `unsaid`: they die before they have said what they are at.
    """

    def __init__(self, records, folder, deadly, unsaid=False, first_others=0):
        self.records, self.folder, self.deadly, self.unsaid = records, folder, deadly, unsaid
        self.launched = []
        self.first_others = first_others

    def __call__(self, cells, first):
        jobs = [cell.overrides for cell in cells]
        self.launched.append([seed_of(job) for job in jobs])
        for job in jobs:
            if self.deadly.get(seed_of(job), 0):
                self.deadly[seed_of(job)] -= 1
                if not self.unsaid:
                    self.records.mark(f"id{seed_of(job)}", config_hash=HASHES[job], **self.mark)
                raise BrokenProcessPool("a process was terminated abruptly")
            done = {"id": f"id{seed_of(job)}", "config_hash": HASHES[job]}
            self.records.write(done | {"sweep": self.folder, "status": "ok", "error": None})
        return []

    @property
    def mark(self):
        return {"sweep": self.folder, "mlflow": None}


HASHES = {}


def seed_of(job):
    return int(next(o for o in job if o.startswith("seed=")).removeprefix("seed="))


@pytest.fixture
def launched(tmp_path):
    """`launched(deadly, **how)` runs four jobs: (rows by seed, batches of seeds)."""

    def launched(deadly, **how):
        said = [*PLAIN, "dataset=digits", f"output={tmp_path}", "seed=0,1,2,3"]
        with set_up(*said):
            found = cells()
        HASHES.update({cell.overrides: cell.config_hash for cell in found})
        folder = str(tmp_path / "sweep")
        launcher = Launcher(Records(tmp_path), folder, dict(deadly), **how)
        sweep = Sweep(folder, found, launcher)
        sweep.run()
        return sweep.rows, launcher.launched

    return launched


def test_jobs_that_a_dead_worker_took_with_it_are_started_again(launched):
    rows, batches = launched({1: 1})
    assert batches == [[0, 1, 2, 3], [2, 3], [1]]
    assert [row.status for row in rows] == ["ok"] * 4


def test_a_cell_that_kills_its_worker_twice_is_failed_and_the_rest_is_done(launched, tmp_path):
    rows, batches = launched({1: 2})
    assert batches == [[0, 1, 2, 3], [2, 3], [1]]
    assert [row.status for row in rows] == ["ok", "failed", "ok", "ok"]
    assert rows[1].error == KILLED
    assert Records(tmp_path).read("id1")["error"] == KILLED
    assert not list(Records(tmp_path).marks())


def test_of_two_cells_that_kill_their_workers_each_is_tried_alone(launched):
    rows, batches = launched({1: 1, 2: 2})
    assert batches == [[0, 1, 2, 3], [2, 3], [3], [1], [2]]
    assert [row.status for row in rows] == ["ok", "ok", "failed", "ok"]


def test_a_worker_that_dies_before_it_has_said_at_what_keeps_no_other_cell_from_its_try(launched):
    rows, batches = launched({1: 9}, unsaid=True)
    assert batches == [[0, 1, 2, 3], [1, 2, 3], [1], [2], [3]]
    assert [row.status for row in rows] == ["ok", "failed", "ok", "ok"]
    assert rows[1].error == KILLED


def test_a_worker_that_dies_once_before_it_has_said_at_what_costs_nothing(launched):
    rows, _ = launched({1: 1}, unsaid=True)
    assert [row.status for row in rows] == ["ok"] * 4


def test_a_launcher_that_does_not_work_is_what_every_cell_is_told(launched, monkeypatch):
    def broken(self, jobs, first):
        raise RuntimeError("no queue of that name")

    monkeypatch.setattr(Launcher, "__call__", broken)
    rows, _ = launched({})
    assert {(row.status, row.error) for row in rows} == {
        ("failed", "RuntimeError: no queue of that name")
    }


# real processes


def children(process):
    """Processes of its group, itself left out."""
    found = subprocess.run(["ps", "-o", "pid=", "-g", str(process.pid)], capture_output=True)
    return [int(pid) for pid in found.stdout.split() if int(pid) != process.pid]


def gone(process, patience=10):
    """Whether none of its group is left, after a while: workers end when they see it gone."""
    end = time.time() + patience
    while children(process) and time.time() < end:
        time.sleep(0.1)
    return not children(process)


def killing(tmp_path, times, launcher=JOBLIB):
    """A sweep of two cells, one of which kills its worker: (status, output, records)."""
    said = [
        *GRID,
        *launcher,
        f"output={tmp_path}",
        "seed=0,1",
        "unlearning=none",
        "unlearning._target_=killers.Killer",
        "+unlearning.seed=${seed}",
        "+unlearning.victim=1",
        f"+unlearning.times={times}",
        f"+unlearning.deaths={tmp_path}/deaths",
    ]
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = begun(*said, PYTHONPATH=os.pathsep.join(paths))
    out = process.communicate(timeout=300)[0]
    records = {r["seed"]: r for r in Records(tmp_path)}
    return process.returncode, out, records


def test_a_cell_whose_worker_was_killed_is_done_when_tried_alone(tmp_path):
    status, out, records = killing(tmp_path, 1)
    assert {seed: r["status"] for seed, r in records.items()} == {0: "ok", 1: "ok"}, out
    assert status == 0
    assert "2 ok, 0 failed" in out
    found = tracked.statuses(tmp_path)
    assert found["FINISHED"] == 2
    assert found["RUNNING"] == 0
    assert found["KILLED"] >= 1
    (parent,) = tracked.parents(tmp_path)  # which workers, being other processes, were told of
    assert parent.info.status == "FINISHED"
    assert {run.data.tags[tracked.PARENT] for run in tracked.cells(tmp_path)} == {
        parent.info.run_id
    }


@pytest.mark.slow
@pytest.mark.parametrize("launcher", OTHERS)
def test_a_worker_that_is_killed_takes_no_other_with_it(tmp_path, launcher):
    """Nor does Ray begin its cell again by itself."""
    status, out, records = killing(tmp_path, 1, launcher)
    assert status == 0, out
    assert {seed: r["status"] for seed, r in records.items()} == {0: "ok", 1: "ok"}
    assert "2 ok, 0 failed" in out
    assert "once more, alone" in out
    assert records[0]["job"] == 0  # begun once
    assert (tmp_path / "deaths").read_text() == "x"
    assert tracked.statuses(tmp_path) == {"FINISHED": 2, "KILLED": 1}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS.values())
def test_a_cell_whose_worker_is_killed_twice_is_failed_and_the_sweep_goes_to_its_end(
    tmp_path, launcher
):
    status, out, records = killing(tmp_path, 9, launcher)
    assert {seed: r["status"] for seed, r in records.items()} == {0: "ok", 1: "failed"}
    assert records[1]["error"] == KILLED
    assert status == 1
    assert "1 ok, 1 failed" in out
    assert "its process was killed, and killed again when it ran alone" in out
    found = tracked.statuses(tmp_path)
    assert (found["FINISHED"], found["RUNNING"]) == (1, 0)
    assert found["KILLED"] >= 2
    assert (tmp_path / "deaths").read_text() == "xx"


STOPS = {"SIGTERM": (signal.SIGTERM, 143), "Ctrl-C": (signal.SIGINT, 130)}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [pytest.param([], id="basic"), *LAUNCHERS.values()])
@pytest.mark.parametrize("how", STOPS)
def test_a_stopped_sweep_leaves_no_process_and_goes_on(tmp_path, launcher, how):
    """SIGTERM goes to the process, as from a batch system; Ctrl-C to its group, as in a shell."""
    number, status = STOPS[how]
    said = [*GRID, "recipe.epochs=60", *launcher, f"output={tmp_path}", "seed=0,1,2,3"]
    process = begun(*said)
    while not list((tmp_path / "records").glob("*.json")):
        time.sleep(0.05)
        assert process.poll() is None
    (os.killpg if how == "Ctrl-C" else os.kill)(process.pid, number)
    out = process.communicate(timeout=60)[0]
    assert process.returncode == status, out
    assert "Jobs; figures in %" in out
    assert "type the same command again to go on" in out
    assert "Traceback" not in out
    assert gone(process)
    done = {r["id"]: r["ended"] for r in Records(tmp_path) if r["status"] == "ok"}
    assert 1 <= len(done) < 4
    again = begun(*said)
    out = again.communicate(timeout=300)[0]
    assert again.returncode == 0, out
    after = {r["id"]: r["ended"] for r in Records(tmp_path) if r["status"] == "ok"}
    assert len(after) == 4
    assert done.items() <= after.items()  # at most sent to MLflow, not computed again
    assert tracked.statuses(tmp_path)["RUNNING"] == 0


@pytest.mark.slow
def test_two_sweeps_at_once_do_each_cell_once(tmp_path):
    said = [*GRID, f"output={tmp_path}", "seed=0,1,2"]
    both = [begun(*said) for _ in range(2)]
    outs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    assert tracked.statuses(tmp_path) == {"FINISHED": 3}
    assert len(list(Records(tmp_path))) == 3


# killed at random, and typed again
def figures(output):
    """What the cells of an output came to, but for what differs from time to time."""
    return {
        r["id"]: {name: r.get(name) for name in ("status", "before", "after", "steps", "objective")}
        for r in Records(output)
    }


def killed_once(output, said, coin, more):
    """Begins the sweep and kills it: at work on a cell, when `more` others were done; or early.

    What it had come to: (cells on record, cells begun and not ended).
    """
    before, process, began = len(figures(output)), begun(*said, f"output={output}"), time.time()
    early = coin.random() < 0.2  # while it starts
    while process.poll() is None and not early:
        time.sleep(0.02)
        if len(figures(output)) >= before + more and at_work(output, began):
            break
    with suppress(subprocess.TimeoutExpired):
        process.wait(coin.uniform(0, 5 if early else 0.8))
    assert process.poll() is None, "the sweep came to its end; give it more cells"
    kill(process, coin)
    process.stdout.close()
    return len(figures(output)), len(list((output / "records").glob("*.running")))


def at_work(output, since):
    """Whether a cell was begun."""
    marks = (output / "records").glob("*.running")
    with suppress(FileNotFoundError):
        return any(mark.stat().st_mtime > since for mark in marks)
    return True


def kill(process, coin):
    """One of its workers, if it has any and chance has it so, and a while later the group."""
    workers = children(process)
    if workers and coin.random() < 0.5:
        os.kill(coin.choice(workers), signal.SIGKILL)
        time.sleep(coin.uniform(0, 1))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def killed_and_undisturbed(tmp_path, said, times, seed=0):
    """After the kills and one command more, nothing tells this output from an undisturbed one."""
    output, calm, coin = tmp_path / "killed", tmp_path / "calm", random.Random(seed)
    finished(*said, f"output={calm}")
    seen, cells = [], len(figures(calm))
    for left in range(times, 0, -1):  # spread over the sweep, and all of them before its end
        undone = cells - (seen[-1][0] if seen else 0)
        seen.append(killed_once(output, said, coin, int(coin.random() < (undone - 4) / left)))
    while not any(begun and 0 < done < cells for done, begun in seen) and len(seen) < 3 * times:
        seen.append(killed_once(output, said, coin, int(seen[-1][0] == 0)))  # on a busy machine
    print("after each kill (cells on record, begun and not ended):", seen)
    # kills that all come before the first cell is done, or between cells, prove nothing
    assert any(begun and 0 < done < cells for done, begun in seen)
    assert len({done for done, _ in seen}) > times // 3
    finished(*said, f"output={output}")
    assert figures(output) == figures(calm)
    assert {r["status"] for r in Records(output)} == {"ok"}
    found = tracked.statuses(output)
    print("in MLflow:", dict(found))
    assert found["FINISHED"] == len(figures(output))
    assert set(found) <= {"FINISHED", "KILLED"}
    ended = {run.info.status for run in tracked.parents(output)}  # of the sweeps themselves
    assert "KILLED" in ended
    assert "RUNNING" not in ended
    finished_are_on_record(output)
    assert not list((output / "records").glob("*.running"))


def finished(*said):
    process = begun(*said)
    out = process.communicate(timeout=600)[0]
    assert process.returncode == 0, out


def finished_are_on_record(output):
    runs = [run for run in tracked.cells(output) if run.info.status == "FINISHED"]
    sent = {run.data.tags["cell"]: run.info.run_id for run in runs}
    assert sent == {r["id"]: r["mlflow"]["run_id"] for r in Records(output)}


def test_a_sweep_that_is_killed_three_times_ends_as_an_undisturbed_one(tmp_path):
    killed_and_undisturbed(tmp_path, [*GRID, *SHORT], 3)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [[], JOBLIB], ids=["basic", "joblib"])
def test_a_sweep_of_24_cells_that_is_killed_20_times_ends_as_an_undisturbed_one(tmp_path, launcher):
    killed_and_undisturbed(tmp_path, [*GRID, *launcher, *FULL], 20)


DEAD = """
import sys
from antidote.engine.mlflow import Mlflow
tracker = Mlflow(f"sqlite:///{sys.argv[1]}/mlflow.db", "antidote", f"{sys.argv[1]}/artifacts")
tracker.start("killed", {}, {"attempt": "of a process that is gone"})
"""
OTHER = """
import sqlite3, sys
connection = sqlite3.connect(f"{sys.argv[1]}/mlflow.db")
connection.execute("select count(*) from runs").fetchall()
connection.close()
"""
SEEN = """
import sys, tracked
print(sorted(run.info.status for run in tracked.runs(sys.argv[1])))
"""


def elsewhere(code, place):
    """What another process prints."""
    command = [sys.executable, "-c", code, str(place)]
    return subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True).stdout


def test_what_a_job_sends_is_kept_when_it_has_ended_a_killed_run_and_another_job_ends(tmp_path):
    """SQLite's locks once went when the database was looked at, and with them what came later."""
    from antidote.engine.mlflow import Mlflow

    elsewhere(DEAD, tmp_path)
    tracker = Mlflow(f"sqlite:///{tmp_path}/mlflow.db", "antidote", f"{tmp_path}/artifacts")
    tracker.killed("of a process that is gone")
    tracker.start("next", {}, {"attempt": "mine"})
    elsewhere(OTHER, tmp_path)
    tracker.client.set_terminated(tracker.run_id, "FINISHED")
    assert elsewhere(SEEN, tmp_path).strip() == "['FINISHED', 'KILLED']"
