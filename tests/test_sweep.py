"""A sweep: its folder, its status, its table, and which cells it takes for the same."""

import csv
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from sweeps import PLAIN, ROOT, set_up, sweep
from tracked import statuses

from antidote.engine import labels
from antidote.engine.attempt import Attempt
from antidote.engine.records import Records
from antidote.sweeps.grid import cells
from antidote.sweeps.run import exclusive

DIGITS = ["dataset=digits", "model.net.width=0.125", "threads=1"]


def report(swept, name="cells.csv"):
    with (swept.folder / "report" / name).open() as file:
        return list(csv.DictReader(file))


# folders
def test_a_folder_that_nobody_named_is_made_by_one_sweep_only(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(exclusive, [f"{tmp_path}/a/b"] * 40))
    assert len(set(made)) == 40
    assert f"{tmp_path}/a/b" in made
    assert all(Path(folder).is_dir() for folder in made)


def test_two_sweeps_of_the_same_second_have_a_folder_each(small, tmp_path, monkeypatch):
    noon = datetime(2026, 1, 1, 12)
    monkeypatch.setattr("hydra.core.utils.datetime", SimpleNamespace(now=lambda: noon))
    one, other = (
        sweep(tmp_path, *small, f"poison.target_class={targets}", named=False)
        for targets in ("0,99", "2,3")
    )
    assert (one.status, other.status) == (1, 0)
    assert [swept.folder.relative_to(swept.output) for swept in (one, other)] == [
        Path("2026-01-01/12-00-00"),
        Path("2026-01-01/12-00-00_2"),
    ]
    targets = [
        [swept.result(job)["settings"]["poison"]["target_class"] for job in "01"]
        for swept in (one, other)
    ]
    assert targets == [[0, 99], [2, 3]]


def test_a_folder_that_was_named_is_used_as_it_is_and_counts_the_jobs_of_this_sweep(
    small, tmp_path
):
    first = sweep(tmp_path, *small, "poison.target_class=99", folder=tmp_path / "mine")
    assert first.status == 1
    other = sweep(tmp_path, *small, "poison.target_class=0", folder=tmp_path / "mine")
    assert (other.status, other.started()) == (0, ["0"])
    assert "1 ok, 0 failed" in other.out
    assert not (tmp_path / "mine/0/traceback.txt").exists()


def test_jobs_may_lie_two_levels_down(small, tmp_path):
    subdir = "hydra.sweep.subdir=seed${seed}/t_${poison.target_class}"
    deep = sweep(tmp_path, *small, "poison.target_class=0,99", subdir)
    assert deep.status == 1
    assert (deep.folder / "seed0/t_0/result.json").exists()
    assert [row[:3] for row in deep.table() if row[:1] in (["0"], ["1"])] == [
        ["0", "0", "ok"],
        ["1", "99", "failed"],
    ]
    assert len(report(deep)) == 1


# what is the same cell
@pytest.fixture
def growing(tmp_path):
    """Three classes of digits, 40 images each to train on and 12 to test."""
    from sklearn.datasets import load_digits

    raw, place = load_digits(), tmp_path / "growing"
    for digit in range(3):
        images = raw.images[raw.target == digit][:62]
        for k, image in enumerate(images):
            part = "train" if k < 40 else "test" if k < 52 else "spare"
            path = place / part / str(digit) / f"{k:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * 15).astype("uint8")).resize((16, 16)).save(path)
    (place / "spare").rename(tmp_path / "spare")
    return place


def test_a_folder_of_images_that_has_changed_is_run_again_with_its_true_figures(growing, tmp_path):
    said = [
        "dataset=image_folder",
        f"dataset.folder={growing}",
        "dataset.size=16",
        "dataset.channels=1",
        "dataset.augment.padding=1",
        "dataset.augment.flip=0",
        "recipe=one_cycle_small",
        "recipe.epochs=6",
        "model.net.width=0.125",
        "threads=1",
        "poison=none",
        "discovery=ids",
        "discovery.ids=[3,17,42]",
    ]
    before = sweep(tmp_path, *said)
    assert sweep(tmp_path, *said).started() == []
    for path in sorted((growing / "train/0").iterdir())[:10]:
        path.unlink()
    for path in sorted((tmp_path / "spare/1").iterdir())[:10]:
        path.rename(growing / "train/1" / path.name)
    after = sweep(tmp_path, *said)
    assert after.started() == ["0"]
    fresh = sweep(tmp_path / "elsewhere", *said)
    assert after.result(0)["after"] == fresh.result(0)["after"] != before.result(0)["after"]
    assert len(after.records) == 2


def test_two_lists_of_1400_ids_that_differ_in_the_last_are_two_cells(tmp_path):
    lists = [[*range(1399), last] for last in (1399, 1400)]
    said = "discovery.ids=" + ",".join(str(ids).replace(" ", "") for ids in lists)
    how = ["recipe.epochs=1", "poison=none", "discovery=ids", said, "unlearning=finetune"]
    found = sweep(tmp_path, *DIGITS, *how)
    assert (found.status, len(found.records), len(report(found))) == (0, 2, 2)
    listed = [r["settings"]["discovery"]["ids"] for r in found.records.values()]
    assert sorted(listed) == lists
    assert len({row["config_hash"] for row in report(found)}) == 2
    assert {row["runs"] for row in report(found, "methods.csv")} == {"1"}


# labels by value
def test_a_run_is_named_by_the_values_that_act():
    said = ["poison.rate=0.05,0.1", "discovery.share=0.3", "unlearning=none"]
    with set_up(*DIGITS, *said):
        names = [labels.run_name(cell.settings, cell.choices) for cell in cells()]
    assert names == [f"none 30 % badnets {rate} % digits seed 0" for rate in (5, 10)]


def test_tables_show_the_values_that_act(small, tmp_path):
    found = sweep(tmp_path, *small, "poison.rate=0.05,0.1", "discovery.share=0.3")
    assert {(row["rate"], row["share"]) for row in report(found)} == {
        ("0.05", "0.3"),
        ("0.1", "0.3"),
    }
    assert ["0", "0.05", "ok"] in [row[:3] for row in found.table()]


# status
def test_a_job_that_raises_before_it_has_a_record_is_failed_with_what_it_raised(
    small, tmp_path, monkeypatch
):
    def broken(self):
        if self.cell.seed == 1:
            raise RuntimeError("no such luck")
        return enter(self)

    enter = Attempt.__enter__
    monkeypatch.setattr(Attempt, "__enter__", broken)
    found = sweep(tmp_path, *small, "seed=0,1,2")
    assert found.status == 1
    assert "job 1 failed: RuntimeError: no such luck" in found.out
    assert "2 ok, 1 failed" in found.out
    assert [r["error"] for r in found.records.values() if r["status"] == "failed"] == [
        "RuntimeError: no such luck"
    ]


def test_a_report_that_cannot_be_made_is_no_success(small, tmp_path, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("antidote.report.benchmark.report.make", broken)
    found = sweep(tmp_path, *small, "seed=0")
    assert found.status == 1
    assert "1 ok, 0 failed" in found.out


@pytest.mark.parametrize(("targets", "status"), [("0,99", 1), ("0,1", 0)])
def test_what_nobody_reads_does_not_change_the_status(small, tmp_path, targets, status):
    """As in `python run.py -m ... | head -1`."""
    said = [*small, *PLAIN, f"output={tmp_path}", f"poison.target_class={targets}"]
    command = [sys.executable, ROOT / "run.py", "-m", *said]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout.readline()
        process.stdout.close()
        error = process.stderr.read()
    assert process.returncode == status
    assert "Traceback" not in error
    assert len(list(Records(tmp_path))) == 2


def test_a_mistake_in_a_sweep_is_one_sentence_before_anything_is_made(tmp_path):
    found = sweep(tmp_path, *DIGITS, "seed=interval(0,1)")
    assert found.status.startswith("error: seed=interval(0,1) has no list of values")
    assert not found.folder.exists()


# two at once
def test_a_sweep_that_wants_a_cell_at_work_elsewhere_says_what_it_waits_for(small, tmp_path):
    (id,) = sweep(tmp_path, *small).records
    hold = (
        "import sys, time\n"
        "from antidote.engine.records import Records\n"
        "with Records(sys.argv[1]).lock(sys.argv[2]):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(3)\n"
    )
    command = [sys.executable, "-c", hold, f"{tmp_path}/output", id]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        waited = sweep(tmp_path, *small, "resume=false")
    assert waited.status == 0
    assert f"waiting for cell {id}, which process {other.pid} on" in waited.log


# stopped
STOPS = {"SIGTERM": (signal.SIGTERM, 143), "Ctrl-C": (signal.SIGINT, 130)}


@pytest.mark.parametrize("logger", ["none", "mlflow"])
@pytest.mark.parametrize("how", STOPS)
def test_a_sweep_that_is_stopped_tells_what_is_done_and_goes_on_when_typed_again(
    small, tmp_path, monkeypatch, how, logger
):
    number, status = STOPS[how]
    from antidote.model.classifier import Classifier

    def stopping(self, batch):
        if len(list((tmp_path / "output/records").glob("*.json"))) == 1:
            os.kill(os.getpid(), number)
        return step(self, batch)

    step = Classifier.training_step
    monkeypatch.setattr(Classifier, "training_step", stopping)
    stopped = sweep(tmp_path, *small, "seed=0,1,2", f"logger={logger}")
    monkeypatch.undo()
    assert stopped.status == status
    states = [row[2] for row in stopped.table()]
    assert (states[0], states[2]) == ("ok", "not")
    assert states[1] in ("failed", "stopped")
    assert "type the same command again to go on" in stopped.out
    again = sweep(tmp_path, *small, "seed=0,1,2", f"logger={logger}")
    assert (again.status, again.started()) == (0, ["0", "1"])
    assert not list((tmp_path / "output/records").glob("*.running"))
    if logger == "mlflow":
        assert statuses(tmp_path / "output") == {"FINISHED": 3, "FAILED": 1}


@pytest.mark.parametrize(
    ("typed", "targets"),
    [
        (["seed=1,2", "poison.target_class=${seed}"], [1, 2]),
        (["seed=1,2", "poison.target_class=${seed},0"], [1, 0, 2, 0]),
        (["poison.target_class=${seed}", "seed=1,2"], [1, 2]),
    ],
)
def test_what_is_typed_with_a_reference_is_each_jobs_own(typed, targets):
    """A `${seed}` once became the seed that the sweep as a whole has, in every job."""
    with set_up("dataset=digits", *typed):
        found = cells()
        assert [cell.settings["poison"]["target_class"] for cell in found] == targets
