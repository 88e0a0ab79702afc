"""Processes killed while they write the cache, and processes that want one entry at once."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from antidote.cache import Cache

# `python -c KILLER program arguments`: the program is killed
# in the middle of the first tensor file that it writes
KILLER = """
import os, pathlib, runpy, signal, sys
whole = pathlib.Path.write_bytes
def half(self, content):
    if self.parent.suffix == ".half":
        whole(self, content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, content)
pathlib.Path.write_bytes = half
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def stage(folder: Path, name: str = "victims") -> dict[str, Path]:
    """What lies in a stage's folder, by suffix; the entry itself has none."""
    return {path.suffix: path for path in (folder / "cache" / name).iterdir()}


def test_a_run_killed_while_it_keeps_its_victim_can_be_started_again(cli, small, run, tmp_path):
    killed = cli(
        *small, "logger=none", "progress=false", f"output={tmp_path}/output", python=["-c", KILLER]
    )
    assert killed.returncode == -signal.SIGKILL
    assert stage(tmp_path / "output").keys() == {".half", ".lock"}

    again = run()
    assert "fit" not in again["cached"]
    left = stage(tmp_path / "output")
    assert left.keys() == {"", ".lock"}
    assert (left[""] / "tensors.safetensors").read_bytes() == (
        again.folder / "victim.safetensors"
    ).read_bytes()

    assert "fit" in run()["cached"]


def work(folder: Path) -> dict[str, torch.Tensor]:
    """Leaves a file for each time that it is done."""
    (folder / f"done by {os.getpid()}").touch()
    time.sleep(0.5)
    return {"x": torch.arange(1000.0)}


def fetch(folder: Path) -> torch.Tensor:
    return Cache(folder / "cache", "on").fetch("stage", {"seed": 0}, lambda: work(folder))[0]["x"]


@pytest.mark.parametrize("moment", ["write_bytes", "write_text", "replace"])
def test_whenever_a_writer_is_killed_the_next_one_finds_no_entry_and_makes_a_sound_one(
    tmp_path, moment
):
    kill = f"import os, pathlib; pathlib.Path.{moment} = lambda *a: os.kill(os.getpid(), 9)"
    code = f"{kill}; import pathlib, {__name__} as t; t.fetch(pathlib.Path({str(tmp_path)!r}))"
    killed = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert stage(tmp_path, "stage").keys() == {".half", ".lock"}
    for _ in range(2):
        assert fetch(tmp_path).equal(torch.arange(1000.0))
    assert stage(tmp_path, "stage").keys() == {"", ".lock"}
    assert len(list(tmp_path.glob("done by *"))) == 2  # by the killed process and by this one, once


def fetch_together(folder: Path, barrier) -> None:
    barrier.wait(60)
    assert fetch(folder).equal(torch.arange(1000.0))


def test_two_processes_that_want_one_entry_at_once_do_its_work_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    both = [
        context.Process(target=fetch_together, args=(tmp_path, barrier), daemon=True)
        for _ in range(2)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert len(list(tmp_path.glob("done by *"))) == 1
