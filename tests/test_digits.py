"""The digits inside scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from antidote.core import BadInput
from antidote.dataset.digits import digits


def load(upscale=1, test_share=0.2, seed=0, limit=None):
    return digits(None, upscale, test_share, seed, limit)


def test_the_test_part_is_a_share_of_all_1797():
    data = load()
    assert (len(data.train), len(data.test)) == (1438, 359)  # 0.2 * 1797 = 359.4


def test_each_digit_is_in_exactly_one_part_with_its_label():
    data, raw = load(), load_digits()
    ours = [
        (x.tobytes(), y)
        for part in (data.train, data.test)
        for x, y in zip(part.x.numpy(), part.y.tolist(), strict=True)
    ]
    # 0..16 become 0..255
    theirs = [
        (np.rint(x * 255 / 16).astype(np.uint8).tobytes(), y)
        for x, y in zip(raw.images, raw.target, strict=True)
    ]
    assert sorted(ours) == sorted(theirs)


def test_the_split_is_mixed_and_is_decided_by_its_seed():
    assert torch.equal(load().test.y, load().test.y)
    assert not torch.equal(load().test.y, load(seed=1).test.y)


@pytest.mark.parametrize("limit", [1, 600, 1438])
def test_a_limit_keeps_the_first_images(limit):
    whole, found = load().train, load(limit=limit).train
    assert torch.equal(found.x, whole.x[:limit])
    assert torch.equal(found.y, whole.y[:limit])


@pytest.mark.parametrize("test_share", [0.0001, 0.9999])
def test_a_share_that_leaves_a_part_without_images_is_refused(test_share):
    with pytest.raises(BadInput, match="it needs some of each"):
        load(test_share=test_share)


@pytest.mark.parametrize("upscale", [2, 3])
def test_upscaling_repeats_pixels(upscale):
    small, large = load(1).test.x, load(upscale).test.x
    assert large.shape[-2:] == (8 * upscale, 8 * upscale)
    for dy in range(upscale):
        for dx in range(upscale):
            assert torch.equal(large[:, :, dy::upscale, dx::upscale], small)
