"""What a user of `python run.py` sees: output, files, exit status, one sentence per mistake."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from forks import ROOT, typed
from mlflow import MlflowClient
from safetensors.torch import load_file
from tracked import cells

from antidote.engine.records import Records
from antidote.model.classifier import Classifier

QUICK = ["unlearning=none", "pictures=false", "save_models=false", "progress=false"]
NUMBERS = {
    "poison_rate",
    "n_poisoned",
    "n_known",
    "healed_train",
    "healed_raw",
    "accuracy_drop",
    "sample_gradients",
    "seed",
}
NAMES = {"id", "config_hash", "dataset", "model", "poison", "unlearning", "status", "command"}
FILES = {
    "result.json",
    "victim.safetensors",
    "unlearned.safetensors",
    "poison.npz",
    "samples.npz",
    "config.yaml",
    "run.log",
}
PICTURES = {"samples.png", "per_class.png", "ptn_path.png"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("command_line")


@pytest.fixture(scope="module")
def default(cli, small, place):
    """(process, run folder) of a run that changes only data and size, begun in an empty folder."""
    (place / "empty").mkdir()
    done = cli(*small, f"output={place}/multirun", cwd=place / "empty")
    return done, next((place / "multirun/single").iterdir())


@pytest.fixture(scope="module")
def sweep(small, place, default):
    """Two jobs of which the second cannot work: (process, sweep folder)."""
    folder = place / "sweep"
    done = typed(
        "-m",
        *small,
        *QUICK,
        "poison.target_class=0,99",
        f"output={place}/multirun",
        f"hydra.sweep.dir={folder}",
    )
    return done, folder


def test_a_run_ends_with_status_0(default):
    assert default[0].returncode == 0, default[0].stderr


def test_a_run_prints_its_figures_and_where_they_are(default):
    done, folder = default
    for line in (
        "clean accuracy",
        "attacked accuracy",
        "attack success",
        "poison healed",
        "healed in training",
        "PTN tries",
        "seconds: fit",
    ):
        assert line in done.stdout
    assert f"run folder  {folder}" in done.stdout
    assert f"--backend-store-uri sqlite:///{folder.parents[1]}/mlflow.db" in done.stdout


def test_a_run_leaves_its_files(default):
    assert {p.name for p in default[1].iterdir() if p.stat().st_size} >= FILES | PICTURES


def test_a_picture_is_a_picture(default):
    assert {
        p.name for p in default[1].glob("*.png") if p.read_bytes().startswith(b"\x89PNG")
    } == PICTURES


def test_a_model_file_holds_the_net_without_training_state(default):
    victim, unlearned = (
        load_file(default[1] / f"{name}.safetensors") for name in ("victim", "unlearned")
    )
    assert victim.keys() == unlearned.keys()
    assert "fc.weight" in victim


def test_a_run_writes_nothing_outside_its_output_folder(default, place):
    assert not list((place / "empty").iterdir())


def test_result_json_is_the_record(default, place):
    result = json.loads((default[1] / "result.json").read_text())
    assert result == Records(place / "multirun").read(result["id"])


def test_result_json_has_the_promised_keys(default):
    result = json.loads((default[1] / "result.json").read_text())
    assert result.keys() >= NUMBERS | NAMES | {"before", "after", "seconds", "search", "healed"}
    assert result["before"].keys() == result["after"].keys()
    assert result["before"].keys() >= {
        "test/accuracy",
        "trigger/accuracy",
        "trigger/success",
        "trigger/accuracy_all",
    }
    assert result["seconds"].keys() == {"fit", "trace", "unlearn", "evaluate"}
    assert result["search"].keys() >= {"tries", "met", "cutoff", "percentile"}
    assert all(isinstance(result[key], int | float) for key in NUMBERS)
    assert all(isinstance(result[key], str) for key in NAMES)


def test_a_failing_job_of_a_sweep_does_not_harm_the_others(sweep):
    results = [json.loads((sweep[1] / job / "result.json").read_text()) for job in "01"]
    assert [result["status"] for result in results] == ["ok", "failed"]
    assert "poison.target_class=99 does not exist" in results[1]["error"]


def test_a_sweep_with_a_failed_job_ends_with_status_1(sweep):
    assert sweep[0].returncode == 1


def test_a_sweep_ends_with_a_table_of_all_jobs(sweep):
    rows = [line.split() for line in sweep[0].stdout.splitlines()]
    heads = ["job", "poison.target_class", "status", "clean", "attack", "healed", "lost"]
    assert [*heads, "class", "lost"] in rows
    assert any(row[:3] == ["0", "0", "ok"] for row in rows)
    assert any(row[:3] == ["1", "99", "failed"] for row in rows)
    assert "job 1 failed: poison.target_class=99 does not exist" in sweep[0].stdout
    assert "1 ok, 1 failed" in sweep[0].stdout


def test_only_a_failed_job_leaves_a_traceback(sweep):
    assert not (sweep[1] / "0/traceback.txt").exists()
    assert "BadInput: poison.target_class=99" in (sweep[1] / "1/traceback.txt").read_text()


def test_mlflow_tells_failed_jobs_from_finished_ones(sweep, place):
    found = {run.data.params["poison.target_class"]: run for run in cells(place / "multirun")}
    assert {target: run.info.status for target, run in found.items()} == {
        "0": "FINISHED",
        "99": "FAILED",
    }
    assert "poison.target_class=99 does not exist" in found["99"].data.tags["error"]


def test_a_look_at_the_parts_of_a_run_is_in_its_log(default):
    log = (default[1] / "run.log").read_text()
    assert "600 training and 359 test samples of 10 classes" in log
    assert "fitting the victim: 10 steps" in log


def test_help_does_not_import_torch(cli):
    done = cli("--help", python=["-X", "importtime"])
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert done.returncode == 0
    assert "hydra" in imported
    assert not imported & {"torch", "lightning", "mlflow", "matplotlib"}


def test_help_lists_the_options_of_every_group():
    printed = typed("--help").stdout
    assert all(
        option in printed
        for option in ("xlf_ptn", "badnets", "fashion_mnist", "10pct", "resnet9", "smoke")
    )


def test_an_unknown_option_is_refused_with_the_valid_ones():
    done = typed("unlearning=foo")
    assert done.returncode != 0
    assert all(option in done.stderr for option in ("foo", "xlf_ptn", "retrain", "finetune"))


def test_an_unknown_key_is_refused_by_its_name():
    done = typed("poison.rat=0.1")
    assert done.returncode != 0
    assert "rat" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("mistake", ["poison.rate=0", "victim=/no/such/file", "seed=x"])
def test_bad_input_ends_in_one_line_without_a_traceback(small, tmp_path, mistake):
    done = typed(*small, "logger=none", f"output={tmp_path}", mistake)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {mistake}")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stdout


MISTAKES = {
    "poison.rate=0": "poison.rate=0 is not in (0, 1]",
    "poison.rate=0.0001": "is no sample; raise the rate",
    "poison.target_class=99": (
        "poison.target_class=99 does not exist: the data set has classes 0 to 9"
    ),
    "poison.size=17": "poison.size=17 is larger than the images (16 pixels)",
    "poison=none": "the forget set is empty",
    "discovery.share=1.5": "discovery.share=1.5 is not in (0, 1]",
    "discovery=one discovery.count=7": "discovery asks for 7 known samples but only 6",
    "discovery.count=3": "discovery.share=0.1 and discovery.count=3: give one of the two",
    "discovery=ids": "discovery.ids is empty",
    "discovery=ids discovery.ids=[600]": "discovery names sample 600 but the ids go from 0 to 599",
    "dataset=image_folder": "dataset.folder=None has no train/",
    "dataset=fashion_mnist dataset.download=false dataset.folder=/no": (
        "dataset=digits works offline"
    ),
    "dataset.limit=0": "dataset.limit=0 keeps no training sample",
    "dataset.upscale=1": "ResNet9 cannot take images of shape (1, 8, 8)",
    "recipe.steps=5": "recipe.epochs=1 and recipe.steps=5: give one of the two",
    "recipe.epochs=0": "a recipe of length 0 trains nothing",
    "unlearning.strategy=foo": "unlearning.strategy=foo is unknown; choose scan or bisect",
    "unlearning.rho=1": "unlearning.rho=1 is not in [0, 1)",
    "cache=foo": "cache=foo is unknown; choose on or off or refresh",
    "trainer.precision=foo": "the Trainer refuses its settings",
    "victim=/no/such/file": "victim=/no/such/file is not a file",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered_with_a_sentence(run, mistake, monkeypatch):
    monkeypatch.setattr(
        "antidote.dataset.fashion_mnist.DEBIAN", Path("/no")
    )  # where the package is installed, too
    with pytest.raises(SystemExit, match=r"^error: ") as stop:
        run(*mistake.split())
    assert MISTAKES[mistake] in stop.value.code
    assert "\n" not in stop.value.code


def test_a_mistake_leaves_a_failed_result_and_a_traceback(run, tmp_path):
    with pytest.raises(SystemExit):
        run("poison.target_class=99")
    result = json.loads((tmp_path / "run0/result.json").read_text())
    assert result["status"] == "failed"
    assert result["error"].startswith("poison.target_class=99 does not exist")
    assert "BadInput" in (tmp_path / "run0/traceback.txt").read_text()


def test_ctrl_c_ends_a_sweep_and_not_only_its_job(run, monkeypatch):
    def interrupted(self, batch):
        raise KeyboardInterrupt

    monkeypatch.setattr(Classifier, "training_step", interrupted)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run("hydra.mode=MULTIRUN")


def test_in_a_sweep_a_failed_job_has_no_objective(run):
    left = run("poison.target_class=99", "hydra.mode=MULTIRUN")
    assert left["status"] == "failed"
    assert math.isnan(left.objective)


def test_a_reader_that_goes_away_changes_no_result(small, tmp_path):
    """As in `python run.py ... | head -1`, for a process of its own: pipes end with processes."""
    command = [sys.executable, str(ROOT / "run.py"), *small, *QUICK, "logger=none"]
    with (tmp_path / "stderr").open("w") as stderr:
        running = subprocess.Popen(
            [*command, f"output={tmp_path}"], stdout=subprocess.PIPE, stderr=stderr, cwd=ROOT
        )
        assert running.stdout.readline()
        running.stdout.close()
        assert running.wait(120) == 0
    assert (tmp_path / "stderr").read_text() == ""
    (record,) = Records(tmp_path)
    assert record["status"] == "ok"


WRITTEN = ["with space", "50%, h#sh & ünï;", "what?", "a%20b", "what?/is %3F/this"]


@pytest.mark.parametrize("name", WRITTEN)
def test_an_output_folder_may_have_most_names(small, tmp_path, name):
    done = typed(*small, *QUICK, f"output='{tmp_path}/{name}'", "logger.run_name=one")
    assert done.returncode == 0, done.stderr
    assert [p.name for p in tmp_path.iterdir()] == [name.partition("/")[0]]
    assert list((tmp_path / name).parent.iterdir()) == [tmp_path / name]
    (record,) = Records(tmp_path / name)
    client = MlflowClient(record["mlflow"]["uri"])
    run = client.get_run(record["mlflow"]["run_id"])
    assert run.info.status == "FINISHED"
    arrived = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert arrived >= {"result.json", "config.yaml", "run.log"}


def test_in_mlflow_the_log_has_its_closing_table(default):
    there = default[1] / "run.log"
    told = json.loads((default[1] / "result.json").read_text())["mlflow"]
    arrived = MlflowClient(told["uri"]).download_artifacts(told["run_id"], there.name)
    assert "run folder" in there.read_text()
    assert Path(arrived).read_bytes() == there.read_bytes()


@pytest.fixture
def file(tmp_path):
    (tmp_path / "file").touch()
    return tmp_path / "file"


@pytest.mark.parametrize("how", [[], ["-m", "seed=0,1"]], ids=["run", "sweep"])
@pytest.mark.parametrize("below", [False, True], ids=["/proc", "below a file"])
def test_an_output_that_cannot_be_written_is_one_sentence(small, file, below, how):
    output = file / "below" if below else Path("/proc/nowhere")
    done = typed(*how, *small, *QUICK, f"output={output}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: nothing can be written to {output} (")
    assert "choose another output" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stdout


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_an_output_that_is_read_only_is_one_sentence(small, tmp_path):
    tmp_path.chmod(0o555)
    done = typed(*small, *QUICK, f"output={tmp_path}")
    assert done.stderr.startswith(f"error: nothing can be written to {tmp_path} (Permission")


def test_values_are_no_markup(small, tmp_path):
    odd = "+note='[bold],[/foo] :smile: $x$'"
    done = typed(*small, *QUICK, odd, "logger=none", f"output={tmp_path}")
    assert done.returncode == 0, done.stderr
    (record,) = Records(tmp_path)
    assert "[bold],[/foo] :smile: $x$" in record["command"]
