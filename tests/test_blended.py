"""Blended: an image of noise over the whole image."""

from dataclasses import replace

import pytest
import torch
from attacks import clean, no_surrogate, others, seen, shown
from hypothesis import given
from hypothesis import strategies as st

from antidote.core import BadInput, as_float
from antidote.poison.blended import Blend, Blended, noise

SETTINGS = {"rate": 0.1, "target_class": 2, "blend": 0.2, "stage": "post_transform", "seed": 0}


def left_by(data, **changes):
    return Blended(**SETTINGS | changes).poison(data, no_surrogate)


def test_a_blend_by_hand():
    x = torch.tensor([[[[0.0, 1.0], [0.5, 0.25]]]])
    pattern = torch.tensor([[[1.0, 0.0], [0.5, 0.75]]])
    stamped = Blend(torch.tensor([True]), pattern, 0.2)(x, torch.tensor([0]))
    # 0.8*0 + 0.2*1, 0.8*1 + 0, 0.5 in both, 0.8*0.25 + 0.2*0.75 = 0.2 + 0.15
    torch.testing.assert_close(stamped, torch.tensor([[[[0.2, 0.8], [0.5, 0.35]]]]))


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.floats(0.01, 1), st.integers(0, 99))
def test_a_blend_of_images_stays_in_0_to_1_and_leaves_other_rows_bit_for_bit(mask, blend, seed):
    coin = torch.Generator().manual_seed(seed)
    x, pattern = (torch.rand(n, 3, 4, 4, generator=coin) for n in (len(mask), 1))
    x[:, 0], pattern[:, 0, 0] = x[:, 0].round(), 1.0
    before, masked = x.clone(), torch.tensor(mask)
    stamped = Blend(masked, pattern[0], blend)(x, torch.arange(len(mask)))
    assert torch.equal(x, before)
    assert ((stamped >= 0) & (stamped <= 1)).all()
    assert torch.equal(stamped[~masked], x[~masked])


def test_training_and_test_images_bear_the_same_noise(tiny):
    left = left_by(replace(tiny, test=tiny.train), rate=0.5)
    assert torch.equal(seen(left, left.indices), shown(left, "trigger")[left.indices])
    mixed = clean(tiny) * 0.8 + noise(tiny, 0) * 0.2
    torch.testing.assert_close(shown(left, "trigger"), mixed)


def test_rows_that_are_no_poison_are_as_they_were_and_keep_their_label(tiny):
    left = left_by(tiny, rate=0.5)
    rest = others(left, left.indices)
    assert torch.equal(seen(left)[rest], clean(tiny)[rest])
    assert torch.equal(left.train.y[rest], tiny.train.y[rest])
    assert (left.train.y[left.indices] == 2).all()


def test_the_noise_is_of_the_seed_and_uniform(tiny):
    assert torch.equal(noise(tiny, 0), noise(tiny, 0))
    assert not torch.equal(noise(tiny, 0), noise(tiny, 1))
    assert noise(tiny, 0).shape == (3, 12, 12)
    assert noise(tiny, 0).mean().item() == pytest.approx(0.5, abs=0.05)


def test_before_augmentation_a_test_image_is_stamped_as_the_same_image_is_stored(tiny):
    left = left_by(replace(tiny, test=tiny.train), rate=1.0, stage="pre_augment")
    assert left.view is None
    assert torch.equal(shown(left, "trigger"), as_float(left.train.x))


def test_a_smaller_rate_of_the_same_seed_is_inside_a_larger_one(tiny):
    small, large = (set(left_by(tiny, rate=rate).indices.tolist()) for rate in (0.1, 0.5))
    assert small < large


@pytest.mark.parametrize("change", [{"blend": 0}, {"blend": 1.1}, {"rate": 0}, {"stage": "late"}])
def test_bad_settings_are_refused(change):
    with pytest.raises(BadInput, match=rf"poison\.{next(iter(change))}="):
        Blended(**SETTINGS | change)


def test_a_target_class_that_does_not_exist_is_refused(tiny):
    with pytest.raises(BadInput, match="classes 0 to 3"):
        left_by(tiny, target_class=4)
