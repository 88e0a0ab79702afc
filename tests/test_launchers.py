"""Launchers: what jobs get of a machine, that they run, and how a namesake of a plugin's is met."""

import importlib.util
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from sweeps import LAUNCHERS, NEEDS, PLAIN, set_up, sweep

from antidote.engine.cell import cores
from antidote.engine.records import Records
from antidote.sweep.grid import cells
from hydra_plugins.antidote_plugins._parallel import RESOLVERS

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


@pytest.mark.parametrize("jobs", ["0", "two", "1.5", "true"])
def test_a_number_of_jobs_that_is_none_is_refused(tmp_path, jobs):
    said = ["dataset=digits", "hydra/launcher=joblib", f"hydra.launcher.n_jobs={jobs}"]
    found = sweep(tmp_path, *said, "seed=0,1")
    assert found.status.startswith(f"error: hydra.launcher.n_jobs={OmegaConf.create([jobs])[0]}"[:30])
    assert "give 1 or more, or -1" in found.status
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
from hydra_plugins.antidote_plugins._parallel import one_gpu
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
    here = "hydra_plugins.antidote_plugins._parallel.here"
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
    ConfigStore.instance().store("hydra/launcher", name=option, node=Namesake, provider="plugin")
    with warnings.catch_warnings(), set_up(f"hydra/launcher={option}") as cfg:
        warnings.simplefilter("error")
        assert "antidote" in cfg.hydra.launcher._target_
        assert "verbose" not in cfg.hydra.launcher


def test_another_application_has_the_options_of_its_plugins(tmp_path):
    (tmp_path / "config.yaml").write_text("a: 1")
    ConfigStore.instance().store("hydra/launcher", name="ray", node=Namesake, provider="plugin")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        said = ["hydra/launcher=ray"]
        cfg = compose("config", said, return_hydra_config=True)
    assert cfg.hydra.launcher._target_ == "elsewhere.Launcher"


# they run
def test_on_which_cores():
    assert 1 <= cores() <= os.cpu_count()


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
