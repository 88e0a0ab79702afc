"""What a method sees: the known poison and the rest, as the victim saw them, and nothing more."""

import ast
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import antidote.core
from antidote.core import Report, Split
from antidote.dataset.augment import CropFlip
from antidote.dataset.digits import digits

SPLITS = []


class Spy:
    """An unlearner that only keeps what it is handed."""

    def unlearn(self, victim, split):
        SPLITS.append(split)
        return Report()


@pytest.fixture
def seen(run):
    """The split of a run in which half of the poison is known, and its poison.npz as tensors."""
    left = run(
        "unlearning=none",
        f"unlearning._target_={__name__}.Spy",
        "discovery=50pct",
        "poison.rate=0.1",
    )
    return SPLITS.pop(), {
        name: torch.from_numpy(a) for name, a in np.load(left.folder / "poison.npz").items()
    }


@pytest.fixture(scope="module")
def data():
    return digits(CropFlip(2, 0.0), upscale=2, test_share=0.2, seed=0, limit=600)


def reachable(thing, found=None) -> dict[int, Tensor]:
    """All tensors that attributes, lists and dicts lead to."""
    found = {} if found is None else found
    if id(thing) in found:
        return found
    found[id(thing)] = thing
    parts = (
        thing.values()
        if isinstance(thing, dict)
        else thing
        if isinstance(thing, list | tuple)
        else ()
    )
    for part in [
        *parts,
        *([] if isinstance(thing, Tensor | nn.Module) else getattr(thing, "__dict__", {}).values()),
    ]:
        reachable(part, found)
    return found


def test_known_poison_and_rest_are_all_training_rows_once(seen, data):
    split, _ = seen
    assert torch.equal(
        torch.cat([split.forget.rows, split.retain.rows]).sort().values,
        torch.arange(len(data.train)),
    )


def test_the_forget_set_is_the_discovered_poison(seen):
    split, poison = seen
    assert torch.equal(split.forget.rows, poison["known"])
    assert split.forget.count == round(0.5 * len(poison["indices"]))


def test_the_undiscovered_poison_hides_in_the_rest_under_its_wrong_label(seen, data):
    split, poison = seen
    unknown = poison["unknown"]
    assert len(unknown) == len(poison["indices"]) - len(poison["known"]) > 0
    assert torch.isin(unknown, split.retain.rows).all()
    assert (split.retain.samples.y[unknown] == 0).all()
    assert (data.train.y[unknown] != 0).any()


def test_labels_are_true_wherever_there_is_no_poison(seen, data):
    split, poison = seen
    wrong = (split.retain.samples.y != data.train.y).nonzero().squeeze(1)
    assert len(wrong) > 0
    assert torch.isin(wrong, poison["indices"]).all()


def test_poison_npz_keeps_true_and_poisoned_labels_apart(seen, data):
    _, poison = seen
    assert torch.equal(
        torch.cat([poison["known"], poison["unknown"]]).sort().values, poison["indices"]
    )
    assert torch.equal(poison["true_label"], data.train.y[poison["indices"]])
    assert (poison["label"] == 0).all()


def test_the_known_poison_bears_the_trigger(seen):
    split, _ = seen
    x, y = next(iter(split.forget))
    assert (x[:, :, -3:, -3:] == 1).all()
    assert (y == 0).all()


def test_a_split_has_no_room_for_anything_else():
    assert [field.name for field in fields(Split)] == ["forget", "retain", "once", "record"]


def test_a_split_leads_to_no_test_image_and_to_no_true_label(seen, data):
    tensors = [t for t in reachable(seen[0]).values() if isinstance(t, Tensor)]
    assert any(torch.equal(t, data.train.x) for t in tensors), (
        "the walk does not even find the training images"
    )
    hidden = (data.test.x, data.test.y, data.train.y)
    assert not [
        h.shape for h in hidden if any(t.shape == h.shape and torch.equal(t, h) for t in tensors)
    ]


def test_no_method_looks_where_the_poison_is():
    # `view` knows which rows are stamped, `callbacks` lead to everything, and Python hides neither
    secrets = {"view", "mask", "callbacks", "samples", "__closure__", "__self__"}
    for path in (Path(antidote.core.__file__).parent / "unlearning").glob("*.py"):
        touched = {
            n.attr for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute)
        }
        assert not touched & secrets, f"{path.name} reads {touched & secrets}"
