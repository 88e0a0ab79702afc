"""Channel statistics of byte images, and which rows a limit keeps."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from antidote.core import BadInput, Samples
from antidote.dataset.images import image_data, statistics
from antidote.dataset.rows import kept


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


def data(limit, labels=range(10)):
    x = images(len(labels), 3, 0)
    train, test = Samples(x, torch.tensor(list(labels))), Samples(x[6:], torch.arange(len(x) - 6))
    return x, image_data(train, test, ("a",), None, limit)


@pytest.mark.parametrize(("limit", "count"), [(None, 10), (4, 4), (99, 10)])
def test_a_limit_keeps_the_first_training_rows_and_all_test_rows(limit, count):
    x, found = data(limit)
    assert torch.equal(found.train.x, x[:count])
    assert found.train.y.tolist() == list(range(count))
    assert len(found.test) == 4


def test_statistics_are_those_of_the_kept_rows():
    x, found = data(4)
    assert torch.equal(found.facts["mean"], statistics(x[:4])[0])
    x, found = data(4, [0] * 5 + [1] * 5)
    assert torch.equal(found.facts["mean"], statistics(x[[0, 1, 5, 6]])[0])


COUNTS = st.lists(st.integers(1, 30), min_size=2, max_size=8)


def blocks(counts):
    """Labels class by class."""
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


def test_of_800_rows_that_lie_class_by_class_a_limit_keeps_all_classes_alike():
    labels = blocks([375, 387, 400, 410, 420, 430, 388, 390, 400, 400])
    assert labels[kept(labels, 800)].bincount().tolist() == [80] * 10


@given(COUNTS, st.integers(1, 250))
def test_class_by_class_no_class_is_more_than_one_row_behind_while_it_lasts(counts, limit):
    labels = blocks(counts)
    found = labels[kept(labels, limit)].bincount(minlength=len(counts)).tolist()
    assert sum(found) == min(limit, sum(counts))
    assert all(n == whole or n >= max(found) - 1 for n, whole in zip(found, counts, strict=True))


@given(COUNTS, st.integers(1, 250))
def test_class_by_class_the_first_rows_of_each_class_are_kept_in_stored_order(counts, limit):
    labels = blocks(counts)
    rows = torch.arange(len(labels))[kept(labels, limit)]
    assert torch.equal(rows, rows.unique(sorted=True))
    for k in range(len(counts)):
        of_class = (labels == k).nonzero().squeeze(1)
        mine = rows[labels[rows] == k]
        assert torch.equal(mine, of_class[: len(mine)])


@pytest.mark.parametrize("order", [[3, 0, 2, 1], [0, 1, 2, 3, 0, 1, 2, 3]])
def test_blocks_need_not_be_sorted_nor_each_class_be_one_block(order):
    labels = torch.tensor(order).repeat_interleave(20)
    assert labels[kept(labels, 40)].bincount().tolist() == [10] * 4


@given(st.integers(0, 10**6), st.integers(2, 20), st.integers(1, 300))
def test_of_rows_in_random_order_a_limit_keeps_the_first(seed, classes, limit):
    coin = torch.Generator().manual_seed(seed)
    labels = (torch.arange(300) % classes)[torch.randperm(300, generator=coin)]
    assert kept(labels, limit) == slice(limit)


@given(st.integers(2, 20), st.integers(1, 300))
def test_of_classes_in_turn_a_limit_keeps_the_first(classes, limit):
    assert torch.equal(
        torch.arange(300)[kept(torch.arange(300) % classes, limit)], torch.arange(limit)
    )


def test_an_external_data_set_that_lies_class_by_class_keeps_all_classes():
    x, found = data(4, [0] * 5 + [1] * 3 + [2] * 2)
    assert torch.equal(found.train.x, x[[0, 1, 5, 8]])
    assert found.train.y.tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize("labels", [[0] * 10, [0, 1] * 5, [0, 1, 2, 0, 2, 1, 1, 0, 2, 0]])
def test_a_limit_copies_no_image_unless_rows_lie_class_by_class(labels):
    # images may be mapped from a file that is larger than memory
    samples = Samples(images(10, 3, 0), torch.tensor(list(labels)))
    found = image_data(samples, samples, ("a",), None, 9)
    assert found.train.x.data_ptr() == samples.x.data_ptr()


@pytest.mark.parametrize("limit", [None, 10, 99])
def test_without_anything_to_leave_out_no_image_is_copied(limit):
    samples = Samples(images(10, 3, 0), blocks([5, 5]))
    found = image_data(samples, samples, ("a",), None, limit)
    assert found.train.x.data_ptr() == samples.x.data_ptr()


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_without_a_row_is_refused(limit):
    with pytest.raises(BadInput, match=rf"dataset\.limit={limit} keeps no training sample"):
        data(limit)


def test_a_part_without_images_is_refused():
    some, none = (
        Samples(images(3, 1, 0), torch.arange(3)),
        Samples(images(0, 1, 0), torch.arange(0)),
    )
    for parts, sentence in (
        ((some, none), "3 images for training and 0"),
        ((none, some), "0 images"),
    ):
        with pytest.raises(BadInput, match=sentence):
            image_data(*parts, ("a",), None, None)
