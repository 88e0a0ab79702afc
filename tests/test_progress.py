"""What tells how far a run is: a bar in a terminal, lines in a log, and never a result."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest
from forks import ROOT, typed
from omegaconf import OmegaConf

from antidote import progress
from antidote.progress import Work, at, through, told
from antidote.trainer import Told, trainer, words


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_a_minute_with_figures_and_time_left(clock, caplog):
    caplog.set_level("INFO")
    work = Work("victim", 40, "steps")
    for _ in range(10):
        clock[0] += 7
        work.step(lambda: "loss 0.500")
    assert caplog.messages == ["victim: 9 of 40 steps, loss 0.500, about 3.6 min left"]


def test_an_epochs_end_is_a_good_moment_once_some_seconds_have_passed(clock, caplog):
    caplog.set_level("INFO")
    work = Work("victim", 4, "steps")
    work.step()
    work.pause(str)
    assert not caplog.messages
    clock[0] += 11
    work.pause(str)
    assert caplog.messages == ["victim: 1 of 4 steps, about 33.0 s left"]


def test_figures_are_worked_out_only_where_they_are_shown(clock):
    def dear() -> str:
        raise AssertionError("a GPU would have been waited for")

    work = Work("victim", 4, "steps")
    work.step(dear)


def test_nothing_is_told_where_nobody_wants_it(clock, caplog):
    caplog.set_level("INFO")
    with told(False):
        work = Work("victim", 4, "steps")
        clock[0] += 1000
        work.step()
    assert not caplog.messages


def test_what_is_gone_through_is_told_within_what_is_being_done(clock, caplog):
    caplog.set_level("INFO")
    with at("unlearning with xlf"):
        for _ in through(range(3), "importances", "batches"):
            clock[0] += 61
    assert caplog.messages[0] == (
        "unlearning with xlf, importances: 1 of 3 batches, about 2.0 min left"
    )


def test_a_trainer_tells_unless_told_otherwise():
    for asked in (True, False):
        made = trainer("cpu", "32-true", enable_progress_bar=asked, max_steps=1, logger=False)
        assert any(isinstance(c, Told) for c in made.callbacks) == asked
        assert made.progress_bar_callback is None  # Lightning's own


def test_words():
    assert words({"loss": 0.25}, {"train/accuracy": 0.5}) == "loss 0.250, accuracy 0.500"
    assert words(None, {"train/loss": 0.1}) == "loss 0.100"


def test_workers_that_share_a_terminal_draw_no_bars(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert progress.in_terminal()
    monkeypatch.setattr(progress.multiprocessing.current_process(), "_name", "LokyProcess-1")
    assert not progress.in_terminal()


def in_a_terminal(*arguments: str) -> str:
    """All that `python run.py` writes to a terminal of 120 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    command = [sys.executable, str(ROOT / "run.py"), *arguments]
    running = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    while True:
        try:
            seen += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
    assert running.wait(60) == 0
    return seen.decode(errors="replace")


def test_a_sweep_in_a_terminal_has_a_bar_for_itself_and_one_for_the_work_at_hand(small, tmp_path):
    quick = ["logger=none", "pictures=false", "save_models=false", "recipe.epochs=2"]
    seen = in_a_terminal("-m", *small, *quick, "unlearning=none,ssd", f"output={tmp_path}")
    assert "sweep: " in seen
    assert " of 2 jobs" in seen
    assert "victim: " in seen
    assert "unlearning with ssd, importances: " in seen


def test_a_log_ends_with_the_table_and_says_what_is_done_first(small, tmp_path):
    done = typed("-m", *small, "logger=none", "seed=0,1", "unlearning=none", f"output={tmp_path}")
    assert done.returncode == 0, done.stderr
    log = next(tmp_path.rglob("1/run.log")).read_text()
    assert "none 10 % badnets 1 % digits seed 1" in log.splitlines()[0]
    assert "unlearning with none" in log
    assert "\njob 1: seed=1\n" in log
    assert "clean accuracy lost" in log
    assert "\x1b" not in log
    assert "job 1: seed=1\n" in done.stdout


@pytest.mark.parametrize("group", ["hydra_logging", "job_logging"])
def test_logging_finds_its_console_where_hydra_has_scanned_for_plugins(group):
    """The scan leaves modules in sys.modules that their package does not know."""
    conf = ROOT / "conf/hydra" / group / "antidote.yaml"
    name = OmegaConf.load(conf).handlers.console["class"]
    scanned = "import hydra_plugins; from hydra.core.plugins import Plugins; Plugins.instance();"
    found = f"from logging.config import BaseConfigurator; BaseConfigurator({{}}).resolve({name!r})"
    subprocess.run([sys.executable, "-c", f"{scanned} {found}"], check=True)
