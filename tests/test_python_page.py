"""docs/python.md does what it says: its code is run, block after block, in an empty folder."""

import re
from pathlib import Path

import pytest
import torch

PAGE = Path(__file__).parents[1] / "docs/python.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """All names that the page's code defines."""
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        for block in BLOCKS:
            exec(compile(block, PAGE.name, "exec"), names)
        yield names


def test_the_run_heals(page):
    assert page["record"]["status"] == "ok"
    assert page["record"]["attack_success_before"] > 0.9
    assert page["record"]["attack_success"] < 0.1


def test_the_sweep_has_a_row_for_each_cell(page):
    frame = page["frame"]
    assert list(zip(frame["tracing"], frame["unlearning"], strict=True)) == [
        ("none", "retrain"),
        ("none", "relabel"),
        ("features", "retrain"),
        ("features", "relabel"),
    ]
    assert set(frame["status"]) == {"ok"}
    assert frame["clean_accuracy"].min() > 0.9
    traced = frame[frame["tracing"] == "features"]
    assert traced["attack_success"].max() < 0.1


def test_a_net_of_the_readers_own_is_healed(page):
    (accuracy, success), (accuracy_after, success_after) = page["before"], page["after"]
    assert accuracy > 0.9
    assert success > 0.9
    assert accuracy_after > accuracy - 0.03
    assert success_after < 0.1


def test_the_tracer_finds_the_rest_of_the_poison(page):
    assert torch.isin(page["poison"][5:], page["traced"].rows).all()


def test_antidotes_part_has_fifteen_lines():
    (block,) = (block for block in BLOCKS if "Victim(" in block)
    assert len([line for line in block.splitlines() if line.strip()]) <= 15
