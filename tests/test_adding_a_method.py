"""A new method costs one .py and one .yaml, which may even lie outside of this repository."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

EXAMPLE = Path(__file__).parent / "example_method"


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
