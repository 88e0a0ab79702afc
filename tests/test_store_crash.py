"""Processes killed while they write the store, and processes that want one entry at once."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from antidote.engine.store import Store

# `python -c KILLER program arguments`: the program is killed
# in the middle of the first victim that it writes
KILLER = """
import os, pathlib, runpy, signal, sys
whole = pathlib.Path.write_bytes
def half(self, content):
    if self.name.endswith(".safetensors.half") and self.parent.name == "victims":
        whole(self, content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, content)
pathlib.Path.write_bytes = half
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def left(folder: Path, kind: str = "victims") -> set[str]:
    """What lies in the folder of a kind, by what comes after the key."""
    return {path.name.partition(".")[2] for path in (folder / "store" / kind).iterdir()}


def test_a_run_killed_while_it_keeps_its_victim_can_be_started_again(cli, small, run, tmp_path):
    killed = cli(
        *small, "logger=none", "progress=false", f"output={tmp_path}/output", python=["-c", KILLER]
    )
    assert killed.returncode == -signal.SIGKILL
    assert left(tmp_path / "output") == {"safetensors.half", "lock", "holder"}
    assert "fit" not in run()["cached"]
    assert left(tmp_path / "output") == {"safetensors", "lock"}
    assert "fit" in run()["cached"]


def work(folder: Path) -> dict[str, torch.Tensor]:
    """Leaves a file for each time that it is done."""
    (folder / f"done by {os.getpid()}").touch()
    time.sleep(0.5)
    return {"x": torch.arange(1000.0)}


def fetch(folder: Path) -> torch.Tensor:
    return Store(folder / "store").fetch("kind", "key", lambda: work(folder))[0]["x"]


# write_bytes: the entry itself; replace: its renaming. The lock's holder is written first
@pytest.mark.parametrize(("moment", "nth"), [("write_bytes", 2), ("replace", 2)])
def test_whenever_a_writer_is_killed_the_next_one_finds_no_entry_and_makes_a_sound_one(
    tmp_path, moment, nth
):
    code = f"""
import os, pathlib
whole, calls = pathlib.Path.{moment}, []
def killing(*a):
    calls.append(a)
    return os.kill(os.getpid(), 9) if len(calls) == {nth} else whole(*a)
pathlib.Path.{moment} = killing
import {__name__} as t
t.fetch(pathlib.Path({str(tmp_path)!r}))
"""
    killed = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert "safetensors" not in left(tmp_path, "kind")
    for _ in range(2):
        assert fetch(tmp_path).equal(torch.arange(1000.0))
    assert left(tmp_path, "kind") == {"safetensors", "lock"}
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
