"""All-to-all: the patch moves every class to the next one."""

import pytest
import torch
from attacks import Says, no_surrogate, seen
from test_badnets import REFERENCE, poisoned

from antidote.core import BadInput
from antidote.engine.stages import measure
from antidote.poison.badnets import AllToAll

SETTINGS = {k: v for k, v in REFERENCE.items() if k != "target_class"}


def left_by(data, **changes):
    return AllToAll(**SETTINGS | changes).poison(data, no_surrogate)


def test_labels_move_to_the_next_class_and_from_the_last_to_the_first(tiny):
    left = left_by(tiny, rate=1.0)
    assert tiny.train.y[:5].tolist() == [0, 1, 2, 3, 0]
    assert left.train.y[:5].tolist() == [1, 2, 3, 0, 1]


def test_no_label_of_the_poison_is_true_and_all_others_are(tiny):
    left = left_by(tiny, rate=0.3)
    wrong = (left.train.y != tiny.train.y).nonzero().squeeze(1)
    assert torch.equal(wrong, left.indices)


@pytest.mark.parametrize("stage", ["post_transform", "pre_augment"])
def test_rows_and_images_are_those_of_badnets(tiny, stage):
    left, same = left_by(tiny, stage=stage), poisoned(tiny, stage=stage)
    assert torch.equal(left.indices, same.indices)
    assert torch.equal(seen(left), seen(same))


@pytest.mark.parametrize(
    ("answer", "success", "accuracy"),
    [
        (lambda y: (y + 1) % 4, 1.0, 0.0),
        (lambda y: y, 0.0, 1.0),
        (lambda y: torch.zeros_like(y), 0.25, 0.25),  # right of class 0, the next one of class 3
        (lambda y: torch.where(y == 2, 3, y), 0.25, 0.75),
    ],
)
def test_success_is_the_next_class_over_all_test_images(tiny, answer, success, accuracy):
    left = left_by(tiny)
    figures = measure(Says(tiny.test.y, answer), {"trigger": left.probes["trigger"]})
    assert figures["trigger/success"] == success
    assert figures["trigger/accuracy_all"] == figures["trigger/accuracy"] == accuracy


def test_a_net_that_recovers_fully_has_healed_exactly_1(tiny):
    left = left_by(tiny)
    fine = {"test/accuracy": 0.75, "poisoned/accuracy": 1.0}
    before = fine | {"trigger/accuracy_all": 0.0, "trigger/success": 1.0}
    after = fine | {"trigger/accuracy_all": 0.75, "trigger/success": 0.0}
    assert left.verdict(before, after)["healed"] == 1.0


@pytest.mark.parametrize("change", [{"size": 0}, {"corner": "middle"}, {"rate": 0}])
def test_bad_settings_are_refused(change):
    with pytest.raises(BadInput, match=rf"poison\.{next(iter(change))}="):
        AllToAll(**SETTINGS | change)
