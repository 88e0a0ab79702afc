"""How a run ends, whoever ends it: killed, told to stop, refused or failed, and what it leaves."""

import errno
import json
import os
import signal
from pathlib import Path

import pytest
from forks import at_statement, kill, typed, typing, until
from mlflow import MlflowClient
from PIL import Image

from antidote.engine.disk import Lock, write
from antidote.engine.records import Records
from antidote.model.classifier import Classifier

QUICK = ["unlearning=none", "pictures=false", "save_models=false", "progress=false"]


def statuses(output: Path) -> list[str]:
    """Of all runs in MLflow, oldest first."""
    client = MlflowClient(f"sqlite:///{output}/mlflow.db")
    found = client.get_experiment_by_name("antidote")
    runs = client.search_runs([found.experiment_id], order_by=["start_time"]) if found else []
    return [run.info.status for run in runs]


def errors(output: Path) -> list[str]:
    client = MlflowClient(f"sqlite:///{output}/mlflow.db")
    experiment = client.get_experiment_by_name("antidote").experiment_id
    return [run.data.tags.get("error", "") for run in client.search_runs([experiment])]


def replaced(name: str, by=kill) -> None:
    """As monkeypatch does it, but for good: for a child that is killed."""
    pytest.MonkeyPatch().setattr(name, by)


# --- killed -------------------------------------------------------------------------------------

MOMENTS = {
    "while the database is made": lambda: at_statement(60),
    "when it is marked": lambda: replaced("antidote.engine.records.Records.mark"),
    "when its run begins": lambda: replaced("mlflow.MlflowClient.log_batch"),
    "in its fit": lambda: replaced("antidote.model.classifier.Classifier.training_step"),
    "where Lightning ends": lambda: replaced("antidote.task.route.summary"),
    "before its record": lambda: replaced("antidote.engine.records.Records.write"),
    "after its record": lambda: replaced("antidote.engine.mlflow.Mlflow.finish"),
}
BEFORE_A_RUN = {"while the database is made", "when it is marked"}


@pytest.fixture(scope="module")
def killed(small, tmp_path_factory):
    """(output, {moment: (status of the process, those in MLflow)}): from an empty folder,
    the same command again and again, the last time undisturbed."""
    output, found = tmp_path_factory.mktemp("killed"), {}
    command = [*small, *QUICK, f"output={output}"]
    for moment, patch in MOMENTS.items():
        ended = typed(*command, patch=patch)
        there = (output / "mlflow.db").exists()
        found[moment] = ended.returncode, statuses(output) if there else []
    return output, found, typed(*command)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_never_looks_finished(killed, moment):
    status, runs = killed[1][moment]
    assert status == -signal.SIGKILL
    assert "FINISHED" not in runs
    assert (runs[-1:] == ["RUNNING"]) == (moment not in BEFORE_A_RUN)


def test_a_run_that_was_killed_at_any_moment_of_its_first_start_can_be_started_again(killed):
    output, _, last = killed
    assert last.returncode == 0, last.stderr
    (record,) = Records(output)
    assert Records(output).state(record["id"]) == "done"


def test_whoever_runs_the_cell_next_ends_the_killed_runs_in_mlflow(killed):
    output, found, _ = killed
    begun = [moment for moment in found if moment not in BEFORE_A_RUN]
    assert statuses(output) == [*["KILLED"] * len(begun), "FINISHED"]


def test_no_mark_and_no_half_file_is_left(killed):
    left = [p.name for p in killed[0].rglob("*") if p.suffix in (".half", ".running", ".holder")]
    assert left == []


def test_whoever_waits_for_a_cell_is_told_for_which_and_who_has_it(small, run, tmp_path):
    command = [*small, *QUICK, f"output={tmp_path}/output", "logger=none"]
    id = run("unlearning=none", *QUICK)["id"]
    with Records(tmp_path / "output").lock(id):
        waiting = typing(*command)
        until(lambda: "waiting for" in waiting.said()[0])
    ended = waiting.ended()
    assert f"waiting for cell {id}, which process {os.getpid()} on " in ended.stdout
    assert ended.returncode == 0


# --- told to stop -------------------------------------------------------------------------------

STOPS = {
    signal.SIGTERM: (143, "ended by SIGTERM"),
    signal.SIGINT: (130, "interrupted"),
}


@pytest.fixture(scope="module", params=STOPS, ids=lambda s: s.name)
def stopped(request, small, tmp_path_factory):
    """(signal, output, process) of a run that gets the signal in its fit."""
    output = tmp_path_factory.mktemp("stopped")
    long = ["recipe.epochs=5000", f"output={output}", f"hydra.run.dir={output}/run"]

    def trained() -> None:
        whole = Classifier.training_step

        def step(self, batch):
            (output / "in its fit").touch()
            return whole(self, batch)

        replaced("antidote.model.classifier.Classifier.training_step", step)

    running = typing(*small, *QUICK, *long, patch=trained)
    until((output / "in its fit").exists)
    os.kill(running.pid, request.param)
    return request.param, output, running.ended()


def test_a_run_that_is_told_to_stop_has_the_status_that_shells_know(stopped):
    number, _, ended = stopped
    assert ended.returncode == STOPS[number][0]


def test_a_run_that_is_told_to_stop_says_so_in_one_line(stopped):
    number, _, ended = stopped
    assert ended.stderr == f"{STOPS[number][1]}; type the same command to begin again\n"
    assert "Traceback" not in ended.stdout


def test_a_run_that_is_told_to_stop_is_recorded_as_failed(stopped):
    number, output, _ = stopped
    (record,) = Records(output)
    shown = json.loads((output / "run/result.json").read_text())
    assert record["status"] == shown["status"] == "failed"
    assert record["error"] == shown["error"] == STOPS[number][1]
    assert not list(Records(output).marks())


def test_a_run_that_is_told_to_stop_has_failed_in_mlflow_too(stopped):
    number, output, _ = stopped
    assert statuses(output) == ["FAILED"]
    assert errors(output) == [STOPS[number][1]]


# --- recording a failure ------------------------------------------------------------------------


def test_a_run_that_is_stopped_again_while_it_says_so_is_ended_in_mlflow_by_the_next(
    run, tmp_path, monkeypatch
):
    """As batch systems do it: a signal that asks, and a moment later one that ends."""

    def stopped(self, *_):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr("antidote.engine.stages.fit", gone)
        broken.setattr("antidote.engine.mlflow.Mlflow.fail", stopped)
        with pytest.raises(SystemExit):
            run(*QUICK, "logger=mlflow")
    assert statuses(tmp_path / "output") == ["RUNNING"]
    run(*QUICK, "logger=mlflow")
    assert statuses(tmp_path / "output") == ["KILLED", "FINISHED"]
    assert not list(Records(tmp_path / "output").marks())


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def gone(*_, **__):
    raise RuntimeError("the server is gone")


def stuck(whole, called):
    """Fails for the lock of a cell, and for what an earlier run may have left."""

    def step(self, **how):
        return full() if called(self).startswith(("cell ", "result.")) else whole(self, **how)

    return step


STEPS = {
    "record": ("antidote.engine.records.Records.write", full),
    "files": ("antidote.engine.attempt.write", full),
    "MLflow": ("antidote.engine.mlflow.Mlflow.fail", gone),
    "mark": ("antidote.engine.records.Records.unmark", full),
    "lock": ("antidote.engine.disk.Lock.release", stuck(Lock.release, lambda lock: lock.what)),
    "old files": ("pathlib.Path.unlink", stuck(Path.unlink, lambda path: path.name)),
}
WRONG = "poison.target_class=99"


@pytest.fixture
def failing(run, tmp_path, database, monkeypatch):
    """`failing(*steps)` is what a user sees of a run that fails while these steps fail, too."""
    (tmp_path / "output").mkdir()
    (tmp_path / "output/mlflow.db").write_bytes(database.read_bytes())

    def failing(*steps, more=()):
        with monkeypatch.context() as broken:
            for step in steps:
                broken.setattr(*STEPS[step])
            with pytest.raises(SystemExit) as stop:
                run("logger=mlflow", WRONG, *more)
        return stop.value.code

    return failing


def left(place: Path) -> set[str]:
    """Where the failure can be seen."""
    found = set()
    if [r for r in Records(place / "output") if WRONG in r["error"]]:
        found.add("record")
    if WRONG in "".join(p.read_text() for p in place.glob("run*/traceback.txt")):
        found.add("files")
    if statuses(place / "output") == ["FAILED"]:
        found.add("MLflow")
    return found


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_keeps_no_other_from_recording_a_failure(failing, tmp_path, step):
    assert failing(step).startswith(f"error: {WRONG} does not exist")
    assert left(tmp_path) == {"record", "files", "MLflow"} - {step}


def test_where_nothing_can_be_recorded_the_runs_own_error_is_what_a_user_sees(failing, tmp_path):
    assert failing(*STEPS).startswith(f"error: {WRONG} does not exist")
    assert left(tmp_path) == set()


def test_a_sweep_goes_on_where_a_failure_cannot_be_recorded(run, tmp_path, monkeypatch):
    for name in ("record", "MLflow", "mark", "lock"):
        monkeypatch.setattr(*STEPS[name])
    assert run(WRONG, "hydra.mode=MULTIRUN")["status"] == "failed"  # returned, and raised nothing


def test_a_result_that_cannot_be_recorded_is_a_failure_in_mlflow(run, tmp_path, monkeypatch):
    monkeypatch.setattr(*STEPS["record"])
    with pytest.raises(OSError, match="No space left"):
        run("unlearning=none", "logger=mlflow")
    assert statuses(tmp_path / "output") == ["FAILED"]


def test_a_mark_that_cannot_be_written_fails_the_run_before_its_fit(run, tmp_path, monkeypatch):
    monkeypatch.setattr("antidote.engine.records.Records.mark", full)
    monkeypatch.setattr("antidote.engine.stages.fit", lambda *_: pytest.fail("it was fitted"))
    with pytest.raises(OSError, match="No space left"):
        run("unlearning=none", "logger=mlflow")
    (record,) = Records(tmp_path / "output")
    assert "No space left" in record["error"]
    assert not (tmp_path / "output/mlflow.db").exists()  # nobody could end such a run


def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    whole = Path.write_bytes

    def half(self, content):
        whole(self, content[: len(content) // 2])
        full()

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "file", "content")
    assert not list(tmp_path.iterdir())


def test_an_error_that_is_no_unicode_is_recorded_everywhere(run, tmp_path, monkeypatch):
    def fit(*_):
        raise RuntimeError("cannot read caf\udce9.png")

    monkeypatch.setattr("antidote.engine.stages.fit", fit)
    with pytest.raises(RuntimeError):
        run("logger=mlflow", "unlearning=none")
    (record,) = Records(tmp_path / "output")
    assert record["error"] == "RuntimeError: cannot read caf\udce9.png"
    assert "caf?.png" in (tmp_path / "run0/traceback.txt").read_text()
    assert errors(tmp_path / "output") == ["RuntimeError: cannot read caf?.png"]
    assert statuses(tmp_path / "output") == ["FAILED"]


def test_an_unreadable_image_of_any_name_is_a_recorded_sentence(run, tmp_path):
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "images" / part / name).mkdir(parents=True)
            Image.new("L", (12, 12)).save(tmp_path / "images" / part / name / "one.png")
    odd = os.fsencode(tmp_path / "images/train/cat") + b"/caf\xe9.png"
    with open(odd, "wb") as file:  # noqa: PTH123, a name of bytes
        file.write(b"no image")
    chosen = ["dataset=image_folder", f"dataset.folder={tmp_path}/images", "model.net.width=0.125"]
    with pytest.raises(SystemExit, match="caf"):
        run(*chosen, "logger=mlflow", small=[])
    (record,) = Records(tmp_path / "output")
    assert record["status"] == "failed"
    assert "caf" in record["error"]


# --- refused before any compute -----------------------------------------------------------------

REFUSED = {
    "discovery=ids discovery.ids=[3,600]": "names sample 600 but the ids go from 0 to 599",
    "discovery=ids discovery.ids=[-1]": "discovery.ids holds -1; ids count from 0",
    "discovery=ids discovery.ids=[]": "discovery.ids is empty",
    f"poison=none discovery=ids discovery.ids={[*range(600)]}".replace(", ", ","): (
        "all 600 training samples are known poison; nothing would be retained"
    ),
    "poison=none": "the forget set is empty",
    "poison_rate=0": "poison.rate=0 is not in (0, 1]",
    "discovery=0": "discovery.count=0 leaves nothing to unlearn",
    "discovery=9": "asks for 9 known samples but only 6 poisoned ones can be found",
    "+trainer.max_steps=3": "trainer.max_steps is the recipe's to say; use recipe.epochs",
    "+trainer.max_epochs=3": "trainer.max_epochs is the recipe's to say; use recipe.epochs",
}


@pytest.mark.parametrize("request_", REFUSED, ids=lambda r: r[:40])
def test_what_is_impossible_is_refused_before_the_fit(run, request_, monkeypatch):
    monkeypatch.setattr("antidote.engine.stages.fit", lambda *_: pytest.fail("it was fitted"))
    with pytest.raises(SystemExit) as stop:
        run(*request_.split())
    assert REFUSED[request_] in stop.value.code
    assert "\n" not in stop.value.code


BROKEN = {
    "garbage": lambda whole: b"garbage" * 1000,
    "cut short": lambda whole: whole[: len(whole) // 2],
    "a head only": lambda whole: whole[:100],
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_database_is_one_sentence_before_the_fit(
    run, tmp_path, database, how, monkeypatch
):
    monkeypatch.setattr("antidote.engine.stages.fit", lambda *_: pytest.fail("it was fitted"))
    path = tmp_path / "output/mlflow.db"
    path.parent.mkdir()
    path.write_bytes(BROKEN[how](database.read_bytes()))
    with pytest.raises(SystemExit) as stop:
        run("logger=mlflow")
    assert stop.value.code.startswith(f"error: {path} is no sound MLflow database")
    assert "move it away" in stop.value.code
    (record,) = Records(tmp_path / "output")
    assert f"error: {record['error']}" == stop.value.code


@pytest.mark.parametrize(
    "moment", ["recipe.epochs=1", "recipe.epochs=null recipe.steps=1"], ids=["early", "last"]
)
def test_a_fit_that_diverges_is_a_failed_run_and_leaves_no_victim(run, tmp_path, moment):
    # in an early step, so that the next loss tells;
    # and in the last one, so that only the weights do
    with pytest.raises(SystemExit, match="not finite; a lower learning rate"):
        run("recipe.schedule.max_lr=1e30", *moment.split())
    (record,) = Records(tmp_path / "output")
    assert (record["status"], "not finite" in record["error"]) == ("failed", True)
    assert not list((tmp_path / "output/store/victims").glob("*.safetensors"))


# --- one folder, several runs -------------------------------------------------------------------


def test_a_run_removes_what_an_earlier_one_has_left_in_its_folder(small, tmp_path):
    command = [*small, *QUICK, f"output={tmp_path}", f"hydra.run.dir={tmp_path}/one", "logger=none"]
    assert typed(*command, WRONG).returncode == 1
    assert (tmp_path / "one/traceback.txt").exists()
    (tmp_path / "one/notes.txt").touch()  # somebody's own
    assert typed(*command, "poison.target_class=0").returncode == 0
    assert json.loads((tmp_path / "one/result.json").read_text())["status"] == "ok"
    assert not (tmp_path / "one/traceback.txt").exists()
    assert (tmp_path / "one/notes.txt").exists()


def test_a_failure_takes_no_earlier_results_place(run, tmp_path, monkeypatch):
    before = run("unlearning=none")
    monkeypatch.setattr("antidote.engine.stages.fit", gone)
    with pytest.raises(RuntimeError, match="gone"):
        run("unlearning=none", "cache=off")
    assert Records(tmp_path / "output").read(before["id"])["status"] == "ok"
