"""What acts on a victim is in its key, from shell to record: nobody gets another's victim."""

import json
import shutil
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from forks import typed
from torch import nn

from antidote.engine.records import Records
from antidote.model.normalize import Normalize

EXAMPLES = Path(__file__).parent / "example_parts"
QUICK = ["unlearning=none", "pictures=false", "save_models=false"]
LONGER = ["dataset.limit=null", "recipe.epochs=2"]  # long enough to learn something


class Dropping(nn.Module):
    """A net that draws while it is fitted."""

    def __init__(self, num_classes: int, mean: torch.Tensor, std: torch.Tensor, width: float):
        super().__init__()
        filters = int(128 * width)
        self.normalize = Normalize(mean, std)
        self.conv = nn.Conv2d(len(mean), filters, 3, padding=1)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(filters * 16, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.adaptive_avg_pool2d(self.conv(self.normalize(x)).relu(), 4)
        return self.head(self.drop(x.flatten(1)))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """`place(name)`: a folder with a store of its own."""
    return lambda name: tmp_path_factory.mktemp(name)


@pytest.fixture(scope="module")
def ran(launch):
    """`ran(place, *overrides)` without pictures."""
    return lambda place, *overrides: launch(place, *QUICK, *overrides)


def found(record) -> dict[str, float]:
    return {k: v for k, v in record["before"].items() if k.startswith(("test", "trigger"))}


# --- what a Trainer is told ---------------------------------------------------------------------

TOLD = {
    "gradient_clip_val": "+trainer.gradient_clip_val=0.001",
    "accumulate_grad_batches": "+trainer.accumulate_grad_batches=4",
    "fast_dev_run": "+trainer.fast_dev_run=true",
}


@pytest.fixture(scope="module")
def plain(ran, place):
    """(folder, result) of a run as it comes."""
    here = place("plain")
    return here, ran(here, *LONGER)


@pytest.fixture(scope="module", params=TOLD)
def told(request, ran, place, plain):
    """(after a plain run, alone in an empty folder, plain again): results of one such setting."""
    setting = [*LONGER, TOLD[request.param]]
    first = place("told")
    alone = ran(first, *setting)
    return ran(plain[0], *setting), alone, ran(first, *LONGER)


def test_a_setting_of_the_trainer_gives_another_victim_than_a_plain_run(told, plain):
    assert "fit" not in told[0]["cached"]
    assert found(told[0]) != found(plain[1])
    assert told[0]["id"] != plain[1]["id"]


def test_a_setting_of_the_trainer_acts_alike_alone_and_after_a_plain_run(told):
    assert found(told[0]) == found(told[1])
    assert told[0]["id"] == told[1]["id"]


def test_a_plain_run_after_such_a_setting_is_plain(told, plain):
    assert "fit" not in told[2]["cached"]
    assert found(told[2]) == found(plain[1])


def test_a_plain_run_again_takes_the_victim_that_is_there(ran, plain):
    again = ran(plain[0], *LONGER)
    assert "fit" in again["cached"]
    assert found(again) == found(plain[1])


# --- a net that draws ---------------------------------------------------------------------------

DROPOUT = [*LONGER, f"model.net._target_={__name__}.Dropping", "model.channels_last=false"]


@pytest.fixture(scope="module")
def dropping(ran, place):
    return ran(place("dropping"), *DROPOUT)


def test_a_net_with_dropout_is_the_same_net_twice(ran, place, dropping):
    torch.rand(7)  # whatever was drawn before
    again = ran(place("again"), *DROPOUT)
    assert "fit" not in again["cached"]
    assert again["before"] == dropping["before"]


def test_a_net_with_dropout_is_the_same_net_in_a_sweep(place, small, dropping):
    output = place("sweep")
    jobs = ["seed=1,0", "logger=none", "progress=false", f"output={output}"]
    done = typed("-m", *small, *QUICK, *DROPOUT, *jobs)
    assert done.returncode == 0, done.stderr
    records = {record["seed"]: record for record in Records(output)}
    assert records[0]["job"] == 1
    assert records[0]["id"] == dropping["id"]
    assert records[0]["before"] == dropping["before"]
    assert records[1]["before"] != dropping["before"]


# --- code that lies elsewhere -------------------------------------------------------------------


class Elsewhere:
    """The example net and attack, beside each other in a folder that only Python's path names."""

    def __init__(self, folder: Path, small: list[str]) -> None:
        self.folder, self.small = folder, small
        for group, name in (("model", "shallow"), ("poison", "frame")):
            (folder / "conf" / group).mkdir(parents=True)
            shutil.copy(EXAMPLES / f"{name}.yaml", folder / "conf" / group)
            shutil.copy(EXAMPLES / f"{name}.py", folder)

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        assert path.read_text().count(old) == 1
        path.write_text(path.read_text().replace(old, new))

    def run(self, store: str) -> dict:
        chosen = ["model=shallow", "poison=frame", "poison_rate=0.1", *LONGER]
        small = [s for s in self.small if not s.startswith("model")]
        folder = self.folder / store
        places = [f"output={folder}", f"hydra.run.dir={folder}/run", "logger=none"]
        path = partial(sys.path.insert, 0, str(self.folder))
        conf = ["--config-dir", f"{self.folder}/conf"]
        done = typed(*conf, *small, *QUICK, *chosen, *places, patch=path)
        assert done.returncode == 0, done.stderr
        return json.loads((folder / "run/result.json").read_text())


EDITS = {
    "net": ("shallow.py", ".relu()", ".tanh()"),
    "attack": ("frame.py", "torch.where(inside > 0, x, 1.0)", "torch.where(inside > 0, x, 0.5)"),
}


@pytest.fixture(scope="module", params=EDITS)
def edited(request, place, small):
    """(before the edit, after it, after it in an empty store, after it and a comment)."""
    parts = Elsewhere(place("elsewhere"), small)
    before = parts.run("a")
    parts.edit(*EDITS[request.param])
    after, alone = parts.run("a"), parts.run("b")
    path = parts.folder / EDITS[request.param][0]
    path.write_text(f"# a comment\n{path.read_text()}")
    return before, after, alone, parts.run("a")


def test_code_outside_the_package_that_is_edited_gives_another_victim(edited):
    before, after, _, _ = edited
    assert "fit" not in after["cached"]
    assert after["id"] != before["id"]
    assert after["config_hash"] == before["config_hash"]
    assert found(after) != found(before)


def test_edited_code_acts_as_it_does_in_an_empty_store(edited):
    assert found(edited[1]) == found(edited[2])


def test_a_comment_is_no_edit(edited):
    assert "fit" in edited[3]["cached"]
    assert found(edited[3]) == found(edited[1])
