"""One identity: what changes a result changes the cell, nothing else does."""

import shlex

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict
from sweeps import CONF

from antidote.core import BadInput
from antidote.engine.cell import Cell

DATA = "of some data"


@pytest.fixture(scope="module")
def cell():
    """`cell(*overrides)` as Hydra would hand it to a job."""
    places = [f"hydra.runtime.{name}=/nowhere" for name in ("cwd", "output_dir")]

    def cell(*overrides):
        cfg = compose("config", [*places, *overrides], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        with open_dict(cfg):
            del cfg["hydra"]
        return Cell.of(cfg)

    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield cell


SAME = [
    "output=/elsewhere",
    "store=s3://bucket/store",
    "data_folder=/elsewhere",
    "logger=none",
    "cache=off",
    "resume=false",
    "threads=1",
    "progress=false",
    "save_models=false",
    "pictures=false",
    "trainer=cpu",
    "+trainer.logger=false",
    "trainer.log_every_n_steps=1",
    "flags.k=4",  # xlf_ptn refers to none
    "task=plan",
]


@pytest.mark.parametrize("override", SAME)
@pytest.mark.parametrize("method", ["xlf_ptn", "retrain"])
def test_where_and_how_fast_it_runs_does_not_change_the_cell(cell, override, method):
    one, other = cell(f"unlearning={method}"), cell(f"unlearning={method}", override)
    assert other.config_hash == one.config_hash
    assert other.id(DATA) == one.id(DATA)


OTHER = {
    "seed=1": "poisoned",
    "poison.size=2": "poisoned",
    "poison_rate=2pct": "poisoned",
    "model.net.width=1.0": "poisoned",
    "recipe.epochs=5": "poisoned",
    "+trainer.gradient_clip_val=0.001": "poisoned",
    "+trainer.accumulate_grad_batches=4": "poisoned",
    "+trainer.fast_dev_run=true": "poisoned",
    "+trainer.limit_train_batches=1": "poisoned",
    "+trainer.deterministic=true": "poisoned",
    "discovery=one": "known",
    "discovery.seed=7": "known",
    "unlearning=ssd": "id",
    "unlearning.rho=0.3": "id",
    "unlearning.seed=7": "id",
    "flags.rho=0.3": "id",
}


@pytest.mark.parametrize("override", OTHER)
def test_what_changes_a_result_changes_the_cell_from_that_stage_on(cell, override):
    one, other = cell(), cell(override)
    chain = ("poisoned", "known", "id")
    changed = [getattr(one, stage)(DATA) != getattr(other, stage)(DATA) for stage in chain]
    first = chain.index(OTHER[override])
    assert changed == [i >= first for i in range(3)]
    assert other.config_hash != one.config_hash
    assert (one.victim(DATA) != other.victim(DATA)) == (first == 0)


def test_other_data_are_another_cell_with_the_same_settings(cell):
    one = cell()
    assert one.id("a") != one.id("b")
    assert one.victim("a") != one.victim("b")


def test_other_code_is_another_cell_with_the_same_settings(cell, monkeypatch):
    one, other = cell(), cell()
    before = one.id(DATA)
    monkeypatch.setattr("antidote.engine.cell.code", lambda names: "edited")
    assert other.id(DATA) != before
    assert other.config_hash == one.config_hash


def test_building_the_parts_does_not_change_the_cell(cell):
    """Instantiating a method once filled in its Trainer's progress bar, and with it the hash."""
    one = cell("unlearning=retrain")
    before = one.config_hash, one.id(DATA)
    for group in ("unlearning", "trainer", "poison", "discovery", "recipe", "model"):
        one.build(group)
    assert (one.config_hash, one.id(DATA)) == before
    assert cell("unlearning=retrain", "progress=false").id(DATA) == before[1]


def test_a_victim_from_a_file_is_known_by_what_is_in_it(cell, tmp_path):
    path = tmp_path / "victim.safetensors"
    path.write_bytes(b"one")
    first = cell(f"victim={path}").id(DATA)
    path.write_bytes(b"two")
    assert cell(f"victim={path}").id(DATA) != first
    (tmp_path / "copy").write_bytes(b"one")
    with_copy = cell(f"victim={tmp_path}/copy")
    assert with_copy.victim(DATA) == cell(f"victim={tmp_path}/copy").victim(DATA)


MISTAKES = {
    "seed=x": "seed=x is not a whole number",
    "seed=1.5": "seed=1.5 is not a whole number",
    "seed=true": "seed=True is not a whole number",
    "threads=0": "threads=0 is not a number of threads",
    "threads=x": "threads=x is not a number of threads",
    "+trainer.max_steps=3": "trainer.max_steps is the recipe's to say",
    "+trainer.max_epochs=3": "trainer.max_epochs is the recipe's to say",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_can_be_seen_before_anything_is_built_is_refused_then(cell, mistake):
    with pytest.raises(BadInput, match=MISTAKES[mistake]):
        cell(mistake).check()


def test_the_command_runs_the_cell_again(cell):
    assert cell().command.startswith("python run.py")
    one = cell("poison.rate=0.02", "+note='[bold] a,b'")
    assert "poison.rate=0.02" in one.command
    assert shlex.split(one.command)[-1] == "+note='[bold] a,b'"


def test_settings_are_plain_and_resolved(cell):
    one = cell("unlearning=retrain")
    assert type(one.settings["unlearning"]) is dict
    assert one.settings["unlearning"]["recipe"]["epochs"] == one.settings["recipe"]["epochs"]
    assert "output" not in one.content
    assert "flags" not in one.content
    assert "accelerator" not in one.content["unlearning"]["make_trainer"]
