"""Launchers: what jobs get of a machine, that they run, and how a namesake of a plugin's is met."""

import importlib.util
import os
import signal
import stat
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from sweeps import LAUNCHERS, NEEDS, PLAIN, begun, set_up, sweep

from antidote.engine.cell import cores
from antidote.engine.records import Records
from antidote.sweeps.grid import cells
from hydra_plugins.antidote_plugins._machine import RESOLVERS
from hydra_plugins.antidote_plugins.submitit_launchers import SubmititSlurm

OPTIONS = [*NEEDS, "submitit_slurm"]


def cell(*overrides):
    with set_up("dataset=digits", *overrides):
        return cells()[0]


# threads
@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr("antidote.engine.cell.cores", lambda: 8)


@pytest.mark.parametrize("option", NEEDS)
@pytest.mark.parametrize(("jobs", "threads"), [(1, 8), (2, 4), (3, 2), (8, 1), (20, 1), (-1, 1)])
def test_jobs_share_the_cores_out(eight_cores, option, jobs, threads):
    said = [f"hydra/launcher={option}", f"hydra.launcher.n_jobs={jobs}"]
    assert cell(*said).threads == threads
    assert cell(*said, "threads=5").threads == 5
    assert cell(*said, "hydra.launcher.threads=3").threads == 3


def test_a_job_of_a_cluster_has_as_many_threads_as_cpus():
    said = ["hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=6"]
    assert cell(*said).threads == 6


def test_without_a_launcher_a_job_has_all_cores(eight_cores):
    assert cell().threads == 8


@pytest.mark.parametrize("option", OPTIONS)
def test_a_cell_is_the_same_whatever_launches_it(option):
    plain, launched = cell(), cell(f"hydra/launcher={option}")
    assert launched.id("data") == plain.id("data")
    assert launched.config_hash == plain.config_hash
    assert launched.command == plain.command


@pytest.mark.parametrize("jobs", ["0", "two", "1.5"])
def test_a_number_of_jobs_that_is_none_is_refused(tmp_path, jobs):
    said = ["dataset=digits", "hydra/launcher=joblib", f"hydra.launcher.n_jobs={jobs}"]
    found = sweep(tmp_path, *said, "seed=0,1")
    assert found.status == (
        f"error: hydra.launcher.n_jobs={jobs} is not a number of jobs; give 1 or more, or -1 for "
        "as many as there are cores"
    )
    assert not found.folder.exists()


def test_a_launcher_whose_package_is_missing_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found = sweep(tmp_path, "dataset=digits", "hydra/launcher=ray", "seed=0,1")
    assert found.status == (
        "error: hydra/launcher=ray needs the package ray, which is not installed; "
        "pip install -e '.[ray]'"
    )
    assert not found.folder.exists()


# GPUs
PLACE = """
import os, sys
from pathlib import Path
from hydra_plugins.antidote_plugins._machine import one_gpu
for _ in range(2):  # a worker has many jobs
    one_gpu(["3", "5"], 4, Path(sys.argv[1]))
print(os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
sys.stdin.read()
"""


def test_processes_share_the_gpus_out_and_a_dead_one_gives_its_place_back(tmp_path):
    command = [sys.executable, "-c", PLACE, str(tmp_path)]
    how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}

    def started():
        process = subprocess.Popen(command, **how)
        return process, process.stdout.readline().strip()

    running = [started() for _ in range(4)]
    try:
        assert sorted(gpu for _, gpu in running) == ["3", "3", "5", "5"]
        dead, its = running.pop()
        dead.kill()
        dead.wait()
        running.append(started())
        assert running[-1][1] == its
    finally:
        for process, _ in running:
            process.kill()
            process.communicate()


@pytest.mark.parametrize(
    ("gpus", "typed", "jobs", "each"),
    [(0, None, 8, 0), (2, None, 2, 1), (2, 4, 4, 0.5), (4, 2, 2, 1)],
)
def test_there_is_one_job_for_each_gpu(eight_cores, monkeypatch, gpus, typed, jobs, each):
    here = "hydra_plugins.antidote_plugins._machine.here"
    monkeypatch.setattr(here, lambda: [str(k) for k in range(gpus)])
    found = typed or RESOLVERS["antidote.jobs"]()
    assert (found, RESOLVERS["antidote.gpus"](found)) == (jobs, each)


# namesakes
@dataclass
class Namesake:
    _target_: str = "elsewhere.Launcher"
    n_jobs: int = -1
    verbose: int = 0


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_of_ours_goes_before_that_of_a_plugin(option):
    ConfigStore.instance().store(group="hydra/launcher", name=option, node=Namesake)
    with warnings.catch_warnings(), set_up(f"hydra/launcher={option}") as cfg:
        warnings.simplefilter("error")
        assert "antidote" in cfg.hydra.launcher._target_
        assert "verbose" not in cfg.hydra.launcher


def test_another_application_has_the_options_of_its_plugins(tmp_path):
    (tmp_path / "config.yaml").write_text("a: 1")
    ConfigStore.instance().store(group="hydra/launcher", name="ray", node=Namesake)
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        said = ["hydra/launcher=ray"]
        cfg = compose("config", said, return_hydra_config=True)
    assert cfg.hydra.launcher._target_ == "elsewhere.Launcher"


# they run


@pytest.mark.parametrize("launcher", LAUNCHERS.values())
def test_a_sweep_with_a_cell_that_fails_is_told_as_it_was_typed(cli, small, tmp_path, launcher):
    place = [f"output={tmp_path}", f"hydra.sweep.dir={tmp_path}/sweep"]
    said = [*small, *PLAIN, *place, "threads=null", "poison.target_class=0,99,1", "seed=0,1"]
    done = cli("-m", *said, *launcher)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "5 ok" not in done.stdout
    assert "4 ok, 2 failed" in done.stdout
    found = {r["job"]: r for r in Records(tmp_path)}
    assert sorted(found) == list(range(6))
    typed = [(target, seed) for target in (0, 99, 1) for seed in (0, 1)]
    told = [(found[j]["settings"]["poison"]["target_class"], found[j]["seed"]) for j in range(6)]
    assert told == typed
    assert [found[j]["status"] for j in range(6)] == ["ok", "ok", "failed", "failed", "ok", "ok"]
    assert [(tmp_path / "sweep" / str(j) / "result.json").exists() for j in range(6)] == [True] * 6
    half = max(cores() // 2, 1)
    assert {found[j]["hardware"].get("threads") for j in (0, 1, 4, 5)} == {half}
    rows = done.stdout.partition("Jobs; figures in %")[2]
    assert rows.index(" 1    0") < rows.index(" 4    1")
    # the same command again: nothing to do but what failed
    again = cli("-m", *said, *launcher)
    assert again.returncode == 1
    assert "4 done before, 2 to do" in again.stdout


@pytest.mark.slow
@LAUNCHERS["submitit_local"].marks[0]
def test_a_job_whose_time_is_over_is_begun_anew_and_its_cell_recorded_once(small, tmp_path):
    """As Slurm asks for it: by a signal, some time before the end."""
    (launcher,) = LAUNCHERS["submitit_local"].values
    said = [*small, *PLAIN, *launcher, f"output={tmp_path}", "recipe.epochs=200"]
    process = begun(*said)
    while not list(Records(tmp_path).marks()):
        time.sleep(0.05)
        assert process.poll() is None
    ((_, mark),) = Records(tmp_path).marks()
    os.kill(mark["pid"], signal.SIGUSR2)
    out = process.communicate(timeout=300)[0]
    assert process.returncode == 0, out
    assert "1 ok, 0 failed" in out
    (log,) = tmp_path.glob("*/*/.submitit/*_log.out")
    assert log.read_text().count("Starting with JobEnvironment") == 2
    assert [r["status"] for r in Records(tmp_path)] == ["ok"]


# Slurm
@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A folder with stand-ins for Slurm's commands, of which none runs anything."""
    for name in ("sbatch", "srun"):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\nexit 1\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=os.pathsep)


def script(*overrides):
    """What sbatch is given, line by line."""
    with set_up(
        "hydra/launcher=submitit_slurm", "hydra.launcher.folder=/shared/x", *overrides
    ) as c:
        launcher = SubmititSlurm(**{k: v for k, v in c.hydra.launcher.items() if k != "_target_"})
    return launcher.executor()._executor._make_submission_file_text("COMMAND", "id").splitlines()


@LAUNCHERS["submitit_local"].marks[0]
def test_a_job_of_slurm_asks_for_one_gpu_and_as_many_cpus_as_it_has_threads(cluster):
    lines = script()
    for asked in (
        "nodes=1",
        "ntasks-per-node=1",
        "gpus-per-node=1",
        "cpus-per-task=4",
        "mem=16GB",
        "time=1440",
        "signal=USR2@120",
    ):
        assert f"#SBATCH --{asked}" in lines
    assert not [line for line in lines if "partition" in line or "account" in line]
    assert any(line.startswith("srun") and line.endswith("COMMAND") for line in lines)


@LAUNCHERS["submitit_local"].marks[0]
def test_what_is_asked_of_slurm_can_be_said(cluster):
    lines = script(
        "hydra.launcher.partition=long",
        "hydra.launcher.gpus_per_node=null",
        "hydra.launcher.additional_parameters={mail-type: FAIL}",
        "hydra.launcher.setup=[module load cuda]",
        "+hydra.launcher.nodelist=n7",
    )
    for line in ("#SBATCH --partition=long", "#SBATCH --mail-type=FAIL", "module load cuda"):
        assert line in lines
    assert "#SBATCH --nodelist=n7" in lines
    assert not [line for line in lines if "gpus" in line]


@LAUNCHERS["submitit_local"].marks[0]
def test_without_slurm_its_launcher_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = sweep(tmp_path / "here", "dataset=digits", "hydra/launcher=submitit_slurm", "seed=0,1")
    assert found.status.startswith("error: hydra/launcher=submitit_slurm needs Slurm's sbatch")
    assert not found.folder.exists()
