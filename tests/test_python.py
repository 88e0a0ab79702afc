"""antidote from Python: one run, and how it ends."""

from pathlib import Path

import pytest
from pythons import QUICK, keywords, python

import antidote
from antidote.engine.records import Records
from antidote.model.classifier import Classifier


@pytest.fixture
def settings(small, tmp_path, monkeypatch):
    """What makes a run one of a second, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return keywords(small) | QUICK


@pytest.fixture(scope="module")
def record(small, tmp_path_factory):
    """(record, output) of a run."""
    output = tmp_path_factory.mktemp("python") / "with space, and comma"
    return antidote.run(small, output=output, **QUICK), output


# the package


def test_importing_antidote_imports_nothing_heavy(tmp_path):
    heavy = "torch", "hydra", "pandas", "lightning", "mlflow"
    program = f"import antidote, sys; print([n for n in {heavy} if n in sys.modules])"
    assert python(tmp_path, "-c", program).stdout == "[]\n"


@pytest.mark.parametrize("name", antidote.__all__)
def test_what_is_promised_is_there_and_listed(name):
    assert callable(getattr(antidote, name))
    assert name in dir(antidote)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'retrain'"):
        antidote.retrain  # noqa: B018


def test_sweep_is_a_function_whatever_was_imported_before():
    import antidote.sweeps.run

    assert callable(antidote.sweep)


# one run


def test_a_run_returns_its_record(record):
    told, output = record
    assert told["status"] == "ok"
    assert told == Records(output).read(told["id"])


def test_a_run_leaves_what_one_from_the_shell_leaves(record):
    folder = Path(record[0]["folder"])
    assert {p.name for p in folder.iterdir()} >= {"result.json", "run.log", "config.yaml", ".hydra"}
    assert "fitting the victim: 10 steps" in (folder / "run.log").read_text()


def test_a_run_is_the_cell_that_the_shell_would_run(record, run):
    quick = [f"{key}={str(value).lower()}" for key, value in QUICK.items()]
    shell = run(*quick)
    numbers = ("id", "config_hash", "before", "after", "objective")
    assert {key: record[0][key] for key in numbers} == {key: shell[key] for key in numbers}


def test_its_command_says_how_to_run_it_from_the_shell(record, small):
    assert record[0]["command"].startswith(f"python run.py {' '.join(small)} 'output=")


def test_outside_a_checkout_the_command_is_the_console_script(settings):
    assert antidote.run(**settings)["command"].startswith("antidote dataset=digits")


def test_output_is_in_the_current_folder(settings, tmp_path):
    told = antidote.run(**settings)
    assert Path(told["folder"]).is_relative_to(tmp_path / "multirun")
    assert [p.name for p in tmp_path.iterdir()] == ["multirun"]


def test_two_runs_in_a_row_are_two_runs(settings):
    first, second = (antidote.run(**settings, seed=seed) for seed in (0, 1))
    assert (first["seed"], second["seed"]) == (0, 1)
    assert first["folder"] != second["folder"]
    assert len(antidote.results("multirun")) == 2


MISTAKES = {
    "unlearning=foo": "Could not find 'unlearning/foo' Available options in 'unlearning': alfssd, ",
    "poison.rat=1": "Could not override 'poison.rat'",
    "unlearning.rho=7": "unlearning.rho=7 is not in",
    "seed=x": "seed=x is not a whole number",
    "seed=0,1": "seed=0,1: several values are for antidote.sweep",
    "seed": "seed is no override; write key=value",
    "x y=1": "x y='1' is no override; write key=value",
    "task=report": "only task=run is run from Python",
    "output=/proc/nowhere": "nothing can be written to /proc/nowhere",
    "unlearning._target_=__main__.Mine": "__main__.Mine is defined in the program",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_bad_input_is_raised_as_one_sentence(settings, mistake):
    said = [f"{k}={str(v).lower()}" for k, v in settings.items() if k != "unlearning"]
    with pytest.raises(antidote.BadInput) as error:
        antidote.run([*said, mistake])
    assert MISTAKES[mistake] in str(error.value)
    assert "\n" not in str(error.value)


def test_overrides_are_a_list():
    with pytest.raises(antidote.BadInput, match="overrides are a list"):
        antidote.run("dataset=digits")


def stopped_by(error, monkeypatch):
    def step(self, batch):
        raise error

    monkeypatch.setattr(Classifier, "training_step", step)


def test_a_run_that_fails_raises_what_it_failed_of(settings, monkeypatch, capsys):
    stopped_by(RuntimeError("out of paper"), monkeypatch)
    with pytest.raises(RuntimeError, match="out of paper"):
        antidote.run(**settings)
    (record,) = Records("multirun")
    assert (record["status"], record["error"]) == ("failed", "RuntimeError: out of paper")
    assert "Error executing job" not in capsys.readouterr().err


@pytest.mark.parametrize("call", ["run", "sweep"])
def test_ctrl_c_passes_through(settings, monkeypatch, call):
    stopped_by(KeyboardInterrupt(), monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        getattr(antidote, call)(**settings)
