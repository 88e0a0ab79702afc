"""Two triggers: of one nobody ever finds a sample, and its figures are told apart."""

from dataclasses import replace

import pytest
import torch
from attacks import Says, clean, no_surrogate, others, seen, shown

from antidote.core import BadInput, as_float
from antidote.engine.stages import measure
from antidote.poison.patch import brightest
from antidote.poison.two_triggers import TwoTriggers

SETTINGS = {
    "rate": 0.2,
    "target_classes": [0, 1],
    "corners": ["bottom_right", "top_left"],
    "size": 3,
    "value": "brightest",
    "blend": 1.0,
    "stage": "post_transform",
    "seed": 0,
}
LAST, FIRST = slice(9, 12), slice(0, 3)


def left_by(data, **changes):
    return TwoTriggers(**SETTINGS | changes).poison(data, no_surrogate)


def halves(left):
    known = torch.isin(left.indices, left.discoverable)
    return left.indices[known], left.indices[~known]


@pytest.mark.parametrize(("rate", "sizes"), [(0.2, (6, 6)), (0.25, (8, 7)), (1.0, (30, 30))])
def test_the_discoverable_half_is_that_of_the_first_trigger(tiny, rate, sizes):
    left = left_by(tiny, rate=rate)
    first, second = halves(left)
    assert (len(first), len(second)) == sizes
    assert torch.equal(first, left.discoverable)
    assert (left.train.y[first] == 0).all()
    assert (left.train.y[second] == 1).all()


def test_labels_of_other_rows_are_true(tiny):
    left = left_by(tiny)
    rest = others(left, left.indices)
    assert torch.equal(left.train.y[rest], tiny.train.y[rest])
    assert torch.equal(left.truth, tiny.train.y)


@pytest.mark.parametrize("stage", ["post_transform", "pre_augment"])
def test_each_half_bears_its_own_patch_and_nothing_else_changes(tiny, stage):
    left, expected = left_by(tiny, stage=stage, value="white"), clean(tiny).clone()
    first, second = halves(left)
    for row in first:
        expected[row, :, LAST, LAST] = 1
    for row in second:
        expected[row, :, FIRST, FIRST] = 1
    assert torch.equal(seen(left), expected)


def test_each_probe_shows_its_own_patch_on_all_test_images(tiny):
    left, value = left_by(tiny), brightest(tiny).view(3, 1, 1)
    first, second = as_float(tiny.test.x).clone(), as_float(tiny.test.x).clone()
    first[:, :, LAST, LAST] = value
    second[:, :, FIRST, FIRST] = value
    assert torch.equal(shown(left, "trigger"), first)
    assert torch.equal(shown(left, "second"), second)


def test_the_probe_of_poisoned_images_has_both_halves(tiny):
    left = left_by(tiny)
    assert torch.equal(shown(left, "poisoned"), seen(left, left.indices))
    obeys = Says(left.train.y[left.indices], lambda y: y)
    assert measure(obeys, {"poisoned": left.probes["poisoned"]})["poisoned/success"] == 1.0


def test_success_is_told_of_each_trigger(tiny):
    left = left_by(tiny)
    always_1 = Says(tiny.test.y, torch.ones_like)
    probes = {name: left.probes[name] for name in ("trigger", "second")}
    figures = measure(always_1, probes)
    assert (figures["trigger/success"], figures["second/success"]) == (0.0, 1.0)


def figures(first, second, success=(1.0, 1.0)):
    return {
        "test/accuracy": 0.9,
        "poisoned/accuracy": 0.5,
        "trigger/accuracy_all": first,
        "second/accuracy_all": second,
        "trigger/success": success[0],
        "second/success": success[1],
    }


def test_healing_one_of_two_triggers_is_half_of_it(tiny):
    found = left_by(tiny).verdict(figures(0.1, 0.1), figures(0.9, 0.1, (0.0, 1.0)))
    assert found["healed"] == pytest.approx(0.5)
    assert found["attack_success"] == 0.5


def test_healing_both_is_all_of_it(tiny):
    found = left_by(tiny).verdict(figures(0.1, 0.3), figures(0.9, 0.9, (0.0, 0.0)))
    assert found["healed"] == pytest.approx(1.0)
    assert found["healed_asr"] == 1.0


def test_a_net_that_never_saw_the_poison_is_averaged_as_well(tiny):
    verdict = left_by(tiny).verdict
    found = verdict(figures(0.1, 0.1), figures(0.9, 0.1), figures(0.9, 0.7))
    assert found["recovered"] == pytest.approx((0.5 - 0.1) / (0.8 - 0.1))


def test_a_smaller_rate_of_the_same_seed_is_inside_a_larger_one_half_by_half(tiny):
    small, large = (halves(left_by(tiny, rate=rate)) for rate in (0.1, 0.5))
    for part, whole in zip(small, large, strict=True):
        assert set(part.tolist()) < set(whole.tolist())


@pytest.mark.parametrize(
    "change",
    [
        {"corners": ["top_left", "top_left"]},
        {"corners": ["top_left"]},
        {"target_classes": [1, 1]},
        {"target_classes": [0, 1, 2]},
    ],
)
def test_one_trigger_twice_is_refused(change):
    with pytest.raises(BadInput, match=rf"poison\.{next(iter(change))}=.* two different ones"):
        TwoTriggers(**SETTINGS | change)


def test_a_rate_of_one_sample_is_refused(tiny):
    with pytest.raises(BadInput, match="there are two triggers; raise the rate"):
        left_by(tiny, rate=0.02)


def test_a_second_target_class_that_does_not_exist_is_refused(tiny):
    with pytest.raises(BadInput, match=r"poison\.target_classes=4 does not exist"):
        left_by(tiny, target_classes=[0, 4])


def test_a_patch_larger_than_the_images_is_refused(tiny):
    with pytest.raises(BadInput, match=r"poison\.size=13"):
        left_by(tiny, size=13)


def test_the_clean_data_stay_as_they_were(tiny):
    before = replace(tiny.train, x=tiny.train.x.clone(), y=tiny.train.y.clone())
    left_by(tiny, stage="pre_augment")
    assert torch.equal(tiny.train.x, before.x)
    assert torch.equal(tiny.train.y, before.y)
