"""Channel statistics of byte images, and the first so many rows."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from antidote.checks import BadInput
from antidote.core import Samples
from antidote.dataset.images import image_data, statistics


def images(n, channels, seed, high=256):
    coin = torch.Generator().manual_seed(seed)
    return torch.randint(high, (n, channels, 4, 3), generator=coin, dtype=torch.uint8)


@given(st.integers(1, 20), st.sampled_from([1, 3]), st.integers(0, 10**6), st.integers(2, 256))
def test_statistics_are_mean_and_standard_deviation_of_the_pixels_as_floats(
    n, channels, seed, high
):
    x = images(n, channels, seed, high)
    pixels = x.double() / 255
    mean, std = statistics(x)
    torch.testing.assert_close(mean.double(), pixels.mean((0, 2, 3)), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(
        std.double(), pixels.std((0, 2, 3), correction=0), rtol=1e-5, atol=2e-6
    )


def test_statistics_by_hand():
    # red 0 and 255: mean 0.5, std 0.5; green 51 and 153: mean (0.2 + 0.6) / 2, std 0.2
    x = torch.tensor([[0, 255], [51, 153]], dtype=torch.uint8).view(1, 2, 1, 2)
    mean, std = statistics(x)
    assert mean.tolist() == pytest.approx([0.5, 0.4])
    assert std.tolist() == pytest.approx([0.5, 0.2])


def test_a_channel_without_contrast_can_be_divided_by():
    assert statistics(torch.full((2, 1, 2, 2), 7, dtype=torch.uint8))[1].item() > 0


def data(limit):
    x = images(10, 3, 0)
    return x, image_data(
        Samples(x, torch.arange(10)), Samples(x[6:], torch.arange(4)), ("a",), None, limit
    )


@pytest.mark.parametrize(("limit", "kept"), [(None, 10), (4, 4), (99, 10)])
def test_a_limit_keeps_the_first_training_rows_and_all_test_rows(limit, kept):
    x, found = data(limit)
    assert torch.equal(found.train.x, x[:kept])
    assert found.train.y.tolist() == list(range(kept))
    assert len(found.test) == 4


def test_statistics_are_those_of_the_kept_rows():
    x, found = data(4)
    assert torch.equal(found.mean, statistics(x[:4])[0])


def test_a_limit_of_0_is_refused():
    with pytest.raises(BadInput, match=r"dataset\.limit=0"):
        data(0)
