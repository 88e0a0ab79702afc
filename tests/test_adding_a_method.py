"""A new method costs one .py and one .yaml, which may even lie outside of this repository."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "tests/example_method"


@pytest.fixture(scope="module")
def left(cli, small, tmp_path_factory):
    """A run folder of the example; PYTHONPATH and --config-dir alone tell it of the two files."""
    place = tmp_path_factory.mktemp("adding")
    (place / "conf/unlearning").mkdir(parents=True)
    shutil.copy(EXAMPLE / "forgetful.yaml", place / "conf/unlearning")
    shutil.copy(EXAMPLE / "forgetful.py", place)
    chosen = ["--config-dir", place / "conf", "unlearning=forgetful", "unlearning.keep=0.5"]
    done = cli(
        *chosen,
        *small,
        "logger=none",
        f"output={place}",
        f"hydra.run.dir={place}/run",
        PYTHONPATH=str(place),
    )
    assert done.returncode == 0, done.stderr
    return place / "run"


def test_a_new_method_is_run_by_its_name(left):
    result = json.loads((left / "result.json").read_text())
    assert (result["status"], result["unlearning"]) == ("ok", "forgetful")


def test_a_new_method_edits_what_it_says_and_nothing_else(left):
    before, after = (load_file(left / f"{name}.safetensors") for name in ("victim", "unlearned"))
    assert {name for name in before if not before[name].equal(after[name])} == {"fc.weight"}


def test_the_numbers_of_a_new_method_come_from_yaml_and_shell(left):
    assert "keep: 0.5" in (left / "config.yaml").read_text()
    before, after = (
        load_file(left / f"{name}.safetensors")["fc.weight"].flatten()
        for name in ("victim", "unlearned")
    )
    likeness = torch.corrcoef(torch.stack([before, after]))[0, 1]
    assert 0.5 < likeness < 0.99  # half old, half new


PARTS = ROOT / "tests/example_parts"
GROUPS = {"bars": "dataset", "frame": "poison", "shallow": "model", "gentle": "unlearning"}
CUT = ["unlearning=finetune_k", "unlearning.k=1"]


@pytest.mark.parametrize("method", [["unlearning=gentle"], CUT], ids=lambda chosen: chosen[0])
def test_a_new_attack_data_set_net_and_trained_method_are_run_by_their_names(cli, tmp_path, method):
    for name, group in GROUPS.items():
        (tmp_path / "conf" / group).mkdir(parents=True)
        shutil.copy(PARTS / f"{name}.yaml", tmp_path / "conf" / group)
        shutil.copy(PARTS / f"{name}.py", tmp_path)
    done = cli(
        "--config-dir",
        tmp_path / "conf",
        *(f"{group}={name}" for name, group in GROUPS.items() if group != "unlearning"),
        *method,
        "recipe=one_cycle_small",
        "poison_rate=10pct",
        "discovery=50pct",
        "threads=1",
        "logger=none",
        f"output={tmp_path}",
        f"hydra.run.dir={tmp_path}/run",
        PYTHONPATH=str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert [result[group] for group in ("dataset", "poison", "model")] == list(GROUPS)[:3]
    assert f"unlearning={result['unlearning']}" == method[0]
    assert result["clean_accuracy_before"] > 0.9  # the net learned the data
    assert result["attack_success_before"] > 0.5  # and the trigger
    assert result["healed"] is not None
    assert result["sample_gradients"] > 0


def test_the_guide_quotes_the_examples():
    guide = (ROOT / "docs/extend.md").read_text()
    for path in PARTS.iterdir():
        if path.is_file():
            assert path.read_text() in guide, path.name


def test_the_readme_quotes_the_example():
    readme = (ROOT / "README.md").read_text()
    for path in EXAMPLE.iterdir():
        if path.is_file():
            assert path.read_text() in readme, path.name
