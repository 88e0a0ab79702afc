"""antidote.sweep and antidote.results: tables of many cells."""

import importlib
import math
import sys
from pathlib import Path

import pytest
from pythons import QUICK, keywords

import antidote
from antidote.engine.records import Records

METHOD = """
from antidote.core import History, Method

class Mine(Method):
    needs_known = False

    def unlearn(self, victim, split):
        victim.net.fc.weight.data.mul_({factor})
        return History()
"""


@pytest.fixture
def settings(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return keywords(small) | QUICK


@pytest.fixture(scope="module")
def swept(small, tmp_path_factory):
    """(table, output) of four cells, two of which cannot work."""
    output = tmp_path_factory.mktemp("sweep")
    settings = keywords(small) | QUICK | {"poison.target_class": [0, 99], "seed": [0, 1]}
    return antidote.sweep(output=output, **settings), output


def test_there_is_a_row_for_each_cell_in_the_grids_order(swept):
    cells = zip(swept[0]["poison.target_class"], swept[0]["seed"], strict=True)
    assert list(cells) == [(0, 0), (0, 1), (99, 0), (99, 1)]


def test_a_cell_that_failed_has_an_error_and_no_figures(swept):
    assert list(swept[0]["status"]) == ["ok", "ok", "failed", "failed"]
    assert swept[0]["error"][2].startswith("poison.target_class=99 does not exist")
    assert math.isnan(swept[0]["clean_accuracy"][2])
    assert swept[0]["clean_accuracy"][0] > 0


def test_the_table_has_the_columns_of_the_results(swept):
    frame, output = swept
    records = antidote.results(output)
    assert set(frame["id"]) == set(records["id"])
    assert [c for c in frame if c not in records] == ["poison.target_class"]


def test_what_is_done_is_not_done_again(swept, small):
    frame, output = swept
    again = antidote.sweep(small, **QUICK, output=output, seed=[0, 1])
    assert list(again["began"]) == list(frame["began"][:2])
    assert len(antidote.results(output)) == 4


def test_what_the_shell_has_done_is_done(swept, launch, small):
    _, output = swept
    quick = [f"{key}={str(value).lower()}" for key, value in QUICK.items()]
    left = launch(output, f"output={output}", "seed=2", *quick)
    (row,) = antidote.sweep(small, **QUICK, output=output, seed=[2]).itertuples()
    assert (row.id, row.folder) == (left["id"], str(left.folder))


def test_a_cell_that_is_left_out_has_a_row_too(swept, small):
    """resume=failed runs what failed, here in vain, and nothing else."""
    settings = keywords(small) | QUICK | {"output": swept[1], "resume": "failed"}
    frame = antidote.sweep(**settings | {"poison.target_class": [0, 99], "seed": [0, 5]})
    assert list(frame["status"]) == ["ok", "left out", "failed", "left out"]
    assert list(frame["seed"]) == [0, 5, 0, 5]


def test_a_grid_may_be_written_as_in_the_shell(settings):
    frame = antidote.sweep(["seed=0,1", "poison_rate=0.05,0.1"], **settings)
    assert list(frame["seed"]) == [0, 0, 1, 1]
    assert list(frame["rate"]) == [0.05, 0.1, 0.05, 0.1]


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"seed": []}, "an axis of a sweep has no values"),
        ({"unlearning": ["none", "foo"]}, "Could not find 'unlearning/foo'"),
        ({"task": "plan"}, "only task=run is swept from Python"),
        ({"output": "/proc/nowhere"}, "nothing can be written to /proc/nowhere"),
    ],
)
def test_bad_input_is_raised_as_one_sentence(settings, how, sentence):
    with pytest.raises(antidote.BadInput) as error:
        antidote.sweep(**settings | how)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_results_of_nothing_are_refused(tmp_path):
    with pytest.raises(antidote.BadInput, match="holds no records"):
        antidote.results(tmp_path)


@pytest.mark.slow
def test_joblib_runs_the_jobs_of_a_call(small, tmp_path):
    """Workers of one sweep are there for the next; their logs are in their folders."""
    parallel = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *small]
    for seeds in ([0, 1], [1, 2]):
        frame = antidote.sweep(parallel, **QUICK, output=tmp_path, seed=seeds)
        assert list(frame["seed"]) == seeds
        assert set(frame["status"]) == {"ok"}
    records = antidote.results(tmp_path)
    logs = [Path(folder, "run.log").read_text() for folder in records["folder"]]
    assert len(logs) == 3
    assert all("training and" in log for log in logs)
    assert records["command"].str.startswith("python run.py").all()


# code that changes while a process goes on


@pytest.fixture
def mine(settings, tmp_path, monkeypatch):
    """`mine(factor)` writes a method of one's own; `mine.run()` runs it."""
    (tmp_path / "conf/unlearning").mkdir(parents=True)
    (tmp_path / "conf/unlearning/mine.yaml").write_text("_target_: my_method.Mine\n")

    def write(factor):
        (tmp_path / "my_method.py").write_text(METHOD.format(factor=factor))

    write.run = lambda: antidote.run(**settings | {"unlearning": "mine"})
    yield write
    sys.modules.pop("my_method", None)
    sys.path[:] = [place for place in sys.path if place != str(tmp_path)]


def test_a_method_of_ones_own_is_found_in_the_current_folder(mine):
    mine(0.5)
    assert mine.run()["unlearning"] == "mine"


def test_one_that_was_missing_is_found_once_it_is_there(mine):
    with pytest.raises(antidote.BadInput, match="my_method"):
        mine.run()
    mine(0.5)
    assert mine.run()["status"] == "ok"


def test_code_that_was_imported_anew_makes_another_cell(mine):
    mine(0.5)
    first = mine.run()
    mine(-1.0)
    importlib.reload(sys.modules["my_method"])
    second = mine.run()
    assert second["id"] != first["id"]
    assert second["after"] != first["after"]
    assert len(list(Records("multirun"))) == 2


def test_code_that_changed_and_was_not_imported_anew_is_refused(mine):
    mine(0.5)
    mine.run()
    mine(-1.0)
    with pytest.raises(antidote.BadInput, match="the file of my_method changed after it was imp"):
        mine.run()
    assert len(list(Records("multirun"))) == 1
