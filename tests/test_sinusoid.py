"""SIG: a wave over the whole image, with wrong labels or on the target class alone."""

from dataclasses import replace
from math import sin

import pytest
import torch
from attacks import Says, clean, no_surrogate, others, seen, shown
from hypothesis import given
from hypothesis import strategies as st

from antidote.core import BadInput, as_float
from antidote.engine.stages import measure
from antidote.poison.sinusoid import Sinusoid, SinusoidClean, Wave

SETTINGS = {
    "rate": 0.2,
    "target_class": 2,
    "delta": 0.125,
    "frequency": 3,
    "stage": "post_transform",
    "seed": 0,
}


def left_by(data, kind=Sinusoid, **changes):
    return kind(**SETTINGS | changes).poison(data, no_surrogate)


def test_a_wave_by_hand():
    # one period in four columns: sin of 0, pi/2, pi, 3 pi/2
    x = torch.full((1, 1, 2, 4), 0.5)
    stamped = Wave(torch.tensor([True]), 0.25, 1)(x, torch.tensor([0]))
    torch.testing.assert_close(stamped[0, 0], torch.tensor([[0.5, 0.75, 0.5, 0.25]] * 2))


def test_the_wave_is_the_papers_in_every_channel(tiny):
    grey = replace(tiny.train, x=torch.full_like(tiny.train.x, 51))  # 0.2
    left = left_by(replace(tiny, train=grey), rate=1.0)
    columns = [0.2 + 0.125 * sin(2 * 3.141592653589793 * j * 3 / 12) for j in range(12)]
    torch.testing.assert_close(seen(left), torch.tensor(columns).expand(60, 3, 12, 12))


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.floats(0.01, 1), st.integers(0, 99))
def test_a_wave_stays_in_0_to_1_and_leaves_other_rows_bit_for_bit(mask, delta, seed):
    x = torch.rand(len(mask), 1, 3, 8, generator=torch.Generator().manual_seed(seed))
    masked = torch.tensor(mask)
    stamped = Wave(masked, delta, 2)(x, torch.arange(len(mask)))
    assert ((stamped >= 0) & (stamped <= 1)).all()
    assert torch.equal(stamped[~masked], x[~masked])


def test_training_and_test_images_bear_the_same_wave(tiny):
    left = left_by(replace(tiny, test=tiny.train))
    assert torch.equal(seen(left, left.indices), shown(left, "trigger")[left.indices])
    rest = others(left, left.indices)
    assert torch.equal(seen(left)[rest], clean(tiny)[rest])


def test_with_wrong_labels_all_classes_are_drawn_from(tiny):
    left = left_by(tiny, rate=0.5)
    assert set(tiny.train.y[left.indices].tolist()) == {0, 1, 2, 3}
    assert (left.train.y[left.indices] == 2).all()


def test_with_true_labels_only_the_target_class_is_drawn_from_and_no_label_changes(tiny):
    left = left_by(tiny, SinusoidClean)
    assert len(left.indices) == 12  # 0.2 of 60, not of the 15 of the class
    assert (tiny.train.y[left.indices] == 2).all()
    assert torch.equal(left.train.y, tiny.train.y)
    wave = (seen(left) != clean(tiny)).flatten(1).any(1)
    assert torch.equal(wave.nonzero().squeeze(1), left.indices)


def test_true_labels_are_no_success_of_the_attack_in_training(tiny):
    left = left_by(tiny, SinusoidClean)
    net = Says(tiny.train.y[left.indices], lambda y: y)
    figures = measure(net, {"poisoned": left.probes["poisoned"]})
    assert figures == {"poisoned/accuracy": 1.0, "poisoned/success": 0.0}


def test_success_is_the_target_class_on_test_images_of_other_classes(tiny):
    left = left_by(tiny, SinusoidClean)
    net = Says(tiny.test.y, lambda y: torch.where(y == 1, 2, y))
    figures = measure(net, {"trigger": left.probes["trigger"]})
    assert figures["trigger/success"] == pytest.approx(1 / 3)
    assert figures["trigger/accuracy_all"] == 0.75


@pytest.mark.parametrize("kind", [Sinusoid, SinusoidClean])
def test_a_smaller_rate_of_the_same_seed_is_inside_a_larger_one(tiny, kind):
    small, large = (set(left_by(tiny, kind, rate=r).indices.tolist()) for r in (0.1, 0.2))
    assert small < large


def test_a_rate_beyond_the_target_class_is_refused_with_the_largest_there_is(tiny):
    with pytest.raises(
        BadInput, match=r"takes 18 samples of class cat, which has 15; .*rate=0\.25 "
    ):
        left_by(tiny, SinusoidClean, rate=0.3)
    assert len(left_by(tiny, SinusoidClean, rate=0.25).indices) == 15


def test_before_augmentation_a_test_image_is_stamped_as_the_same_image_is_stored(tiny):
    left = left_by(replace(tiny, test=tiny.train), rate=1.0, stage="pre_augment")
    assert torch.equal(shown(left, "trigger"), as_float(left.train.x))


@pytest.mark.parametrize("change", [{"delta": 0}, {"delta": 1.5}, {"frequency": 0}, {"rate": 2}])
def test_bad_settings_are_refused(change):
    with pytest.raises(BadInput, match=rf"poison\.{next(iter(change))}="):
        Sinusoid(**SETTINGS | change)


@pytest.mark.parametrize("frequency", [6, 7])
def test_a_wave_too_fine_for_the_pixels_is_refused(tiny, frequency):
    with pytest.raises(BadInput, match=r"12 pixels wide; give less than 6"):
        left_by(tiny, frequency=frequency)
