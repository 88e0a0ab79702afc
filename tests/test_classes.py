"""Classes by name or number: in settings, in the log, in the record and in messages."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from antidote.core import BadInput, Surrogate, class_of
from antidote.poison.adaptive_blend import AdaptiveBlend
from antidote.poison.badnets import BadNets
from antidote.poison.blended import Blended
from antidote.poison.gradient_matching import GradientMatching
from antidote.poison.interclass import Interclass
from antidote.poison.sinusoid import Sinusoid, SinusoidClean
from antidote.poison.two_triggers import TwoTriggers

SETTING = "poison.target_class"


def classes(tiny, *names):
    return replace(tiny, classes=names)


def test_a_class_goes_by_its_name_or_its_number(tiny):
    assert [class_of(tiny, v, SETTING) for v in ("bee", 1, "1")] == [1, 1, 1]


def test_a_name_comes_before_a_number(tiny):
    data = classes(tiny, "1", "10", "11", "2")
    assert [class_of(data, v, SETTING) for v in (2, "2", 1, 10)] == [3, 3, 0, 1]
    assert [class_of(data, v, SETTING) for v in (0, 3)] == [0, 3]  # none is called so


def test_names_that_yaml_reads_as_something_else_are_found(tiny):
    data = classes(tiny, "1.5", "None", "True", "007")
    assert [class_of(data, v, SETTING) for v in (1.5, None, True, "007")] == [0, 1, 2, 3]


@pytest.mark.parametrize("value", [4, -1, 1.0, True, None, "", "Bee", "bee ", "-0", "²"])
def test_what_names_no_class_is_refused_with_those_there_are(tiny, value):
    with pytest.raises(BadInput) as said:
        class_of(tiny, value, SETTING)
    assert str(said.value).startswith(
        f"{SETTING}={value} does not exist: the data set has classes 0 to 3, called ant, bee, cat"
    )


def test_a_name_that_is_nearly_one_is_told_and_long_lists_are_cut(tiny):
    data = classes(tiny, *(f"class{i}" for i in range(90)))
    with pytest.raises(BadInput, match=r"class0, .*, class11, \.\.\.; did you mean class7"):
        class_of(data, "clas7", SETTING)


TRIGGER = {"rate": 0.2, "stage": "pre_augment", "seed": 0}
PATCH = {"size": 2, "value": "white", "blend": 1.0}
WAVE = {"delta": 0.1, "frequency": 2}
NOISE = {"blend": 0.2}
CRAFT = {"eps": 0.1, "restarts": 1, "steps": 1, "tau": 0.1, "batch": 9, "match": "full"}
ATTACKS = {
    "badnets": lambda c: BadNets(**TRIGGER, **PATCH, corner="top_left", target_class=c(2)),
    "blended": lambda c: Blended(**TRIGGER, **NOISE, target_class=c(2)),
    "adaptive_blend": lambda c: AdaptiveBlend(
        **TRIGGER, **NOISE, cover=0.1, pieces=4, shown=0.5, target_class=c(2)
    ),
    "sinusoid": lambda c: Sinusoid(**TRIGGER, **WAVE, target_class=c(2)),
    "sinusoid_clean": lambda c: SinusoidClean(**TRIGGER, **WAVE, target_class=c(2)),
    "two_triggers": lambda c: TwoTriggers(
        **TRIGGER, **PATCH, corners=["top_left", "top_right"], target_classes=[c(2), c(0)]
    ),
    "interclass": lambda c: Interclass(0.2, [c(1), c(3)], "first", 0),
    "gradient_matching": lambda c: GradientMatching(
        0.1, 1, [[1, c(3)]], **CRAFT, shift=0, flip=0, seed=0
    ),
}


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 12 * 12, 4))


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_the_same_by_names_and_by_numbers(tiny, attack):
    made = [
        ATTACKS[attack](how).poison(tiny, Surrogate(lambda: net()))
        for how in (lambda k: k, lambda k: tiny.classes[k])
    ]
    for part in ("indices", "truth"):
        assert torch.equal(*(getattr(left, part) for left in made))
    assert torch.equal(*(left.train.x for left in made))
    assert torch.equal(*(left.train.y for left in made))
    assert made[0].classes == made[1].classes
    assert all(k in range(4) for found in made[0].classes.values() for k in found)


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_on_a_class_that_is_not_there_is_refused(tiny, attack):
    with pytest.raises(BadInput, match=r"=cow\d does not exist"):
        ATTACKS[attack](lambda k: f"cow{k}").poison(tiny, Surrogate(lambda: net()))


BOTH = {
    "interclass": lambda: Interclass(0.2, ["bee", 1], "first", 0),
    "two_triggers": lambda: TwoTriggers(
        **TRIGGER, **PATCH, corners=["top_left", "top_right"], target_classes=[1, "bee"]
    ),
}


@pytest.mark.parametrize("attack", BOTH)
def test_one_class_by_name_and_by_number_is_still_one(tiny, attack):
    with pytest.raises(BadInput, match=r"bee is both, and there must be two"):
        BOTH[attack]().poison(tiny, Surrogate(lambda: net()))


@pytest.fixture(scope="module")
def eleven(tmp_path_factory):
    """Folders 1 to 11, so that the folder 2 is the class number 3."""
    root = tmp_path_factory.mktemp("eleven")
    for part, n in (("train", 6), ("test", 2)):
        for k in range(1, 12):
            (root / part / str(k)).mkdir(parents=True)
            for i in range(n):
                pixels = np.random.default_rng(n * k + i).integers(0, 256, (12, 12), "uint8")
                Image.fromarray(pixels).save(root / part / str(k) / f"{i}.png")
    return root


def folder(root, *overrides):
    small = ["dataset=image_folder", f"dataset.folder={root}", "dataset.size=12", "threads=1"]
    return [*small, "dataset.channels=1", "recipe.epochs=1", "model.net.width=0.125", *overrides]


@pytest.mark.parametrize(
    ("target", "name", "number"), [("2", "2", 3), ("0", "1", 0), ("9", "9", 10)]
)
def test_a_folder_called_2_is_that_folder_in_settings_log_and_record(
    run, eleven, caplog, target, name, number
):
    with caplog.at_level(logging.INFO):
        left = run(
            *folder(eleven, f"poison.target_class={target}", "poison.rate=0.2", "unlearning=none"),
            small=[],
        )
    assert left["classes"] == ["1", "10", "11", "2", *"3456789"]
    assert left["attacked_classes"] == {"target_class": [name]}
    assert f"poison.target_class: class {name} (number {number})" in caplog.text
    stored = np.load(left.folder / "poison.npz")
    assert (stored["label"] == number).all()


def test_a_record_names_both_classes_that_are_confused(run, eleven):
    overrides = [
        "poison=interclass",
        "poison.classes=[2,10]",
        "poison.rate=0.121212",
        "unlearning=none",
    ]
    left = run(*folder(eleven, *overrides), small=[])
    assert left["attacked_classes"] == {"classes": ["2", "10"]}


def test_without_an_attack_no_class_is_named(run, small):
    assert run("poison=none", "unlearning=none")["attacked_classes"] == {}
