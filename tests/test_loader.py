"""Batches: which rows, in which order, and what is done to them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from antidote.core import Loader, Samples, everything
from antidote.core.data import batches

SAMPLES = Samples(torch.arange(50.0).unsqueeze(1), torch.arange(50))


def rows_read(loader):
    return [row for _, y in loader for row in y.tolist()]


def shuffled(**changes):
    return everything(SAMPLES, batch_size=8, shuffle=True, **changes)


@given(
    st.sets(st.integers(0, 49), min_size=1), st.integers(1, 60), st.booleans(), st.integers(0, 99)
)
def test_a_pass_reads_each_row_once(rows, batch_size, shuffle, seed):
    loader = Loader(SAMPLES, torch.tensor(sorted(rows)), batch_size, shuffle, seed=seed)
    assert sorted(rows_read(loader)) == sorted(rows)


@given(st.integers(1, 50), st.integers(1, 60))
def test_there_are_as_many_batches_as_announced_all_full_but_the_last(n, batch_size):
    loader = Loader(SAMPLES, torch.arange(n), batch_size)
    sizes = [len(y) for _, y in loader]
    assert len(sizes) == len(loader)
    assert sizes[:-1] == [batch_size] * (len(sizes) - 1)
    assert sum(sizes) == loader.count == n


def test_a_last_batch_of_one_stays_alone_unless_it_is_to_be_joined():
    sizes = [
        [len(y) for _, y in Loader(SAMPLES, torch.arange(9), 4, join=j)] for j in (False, True)
    ]
    assert sizes == [[4, 4, 1], [4, 5]]


@given(st.integers(1, 50), st.integers(1, 60), st.booleans())
def test_joined_batches_hold_each_row_once_and_are_as_many_as_announced(n, batch_size, shuffle):
    loader = Loader(SAMPLES, torch.arange(n), batch_size, shuffle, join=True)
    read = [y.tolist() for _, y in loader]
    assert len(read) == len(loader) == batches(n, batch_size, join=True)
    assert sorted(row for batch in read for row in batch) == list(range(n))


@given(st.integers(1, 50), st.integers(1, 60))
def test_joined_there_is_no_batch_of_one_unless_there_is_one_row_or_batches_are_of_one(n, size):
    sizes = [len(y) for _, y in Loader(SAMPLES, torch.arange(n), size, join=True)]
    if n > 1 and size > 1:
        assert 1 not in sizes
    assert sizes[:-1] == [size] * (len(sizes) - 1)
    assert sizes[-1] <= size + 1


@given(st.integers(1, 50), st.integers(1, 60), st.integers(0, 99))
def test_joining_changes_neither_the_order_nor_other_batches(n, batch_size, seed):
    plain, joined = (
        [
            y.tolist()
            for _, y in Loader(SAMPLES, torch.arange(n), batch_size, True, seed=seed, join=j)
        ]
        for j in (False, True)
    )
    if len(plain) > 1 and len(plain[-1]) == 1 < batch_size:
        plain[-2:] = [plain[-2] + plain[-1]]
    assert joined == plain


def test_images_and_labels_stay_together():
    for x, y in shuffled():
        assert torch.equal(x[:, 0].long(), y)


def test_rows_are_read_in_their_order_unless_shuffled():
    assert rows_read(Loader(SAMPLES, torch.tensor([5, 1, 9]), 2)) == [5, 1, 9]


def test_the_order_differs_from_pass_to_pass():
    loader = shuffled()
    assert rows_read(loader) != rows_read(loader)


def test_two_loaders_made_alike_give_the_same_batches_in_each_pass():
    one, other = shuffled(seed=3), shuffled(seed=3)
    assert [rows_read(one) for _ in range(3)] == [rows_read(other) for _ in range(3)]


def test_another_seed_gives_another_order():
    assert rows_read(shuffled()) != rows_read(shuffled(seed=1))


def test_the_order_draws_nothing_from_the_global_generator():
    before = torch.random.get_rng_state()
    rows_read(shuffled())
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_loader_read_otherwise_starts_over():
    loader = shuffled()
    first = rows_read(loader)
    rows_read(loader)
    assert rows_read(loader.with_()) == first


def test_reading_otherwise_leaves_the_original_where_it_was():
    loader, twin = shuffled(), shuffled()
    rows_read(loader.with_())
    assert rows_read(loader) == rows_read(twin)


def test_the_same_rows_can_be_read_otherwise():
    other = Loader(SAMPLES, torch.arange(5), 8, shuffle=True).with_(batch_size=2, shuffle=False)
    assert [y.tolist() for _, y in other] == [[0, 1], [2, 3], [4]]


def test_bytes_become_floats_in_0_to_1():
    samples = Samples(torch.tensor([[0], [51], [255]], dtype=torch.uint8), torch.zeros(3))
    assert next(iter(everything(samples)))[0].flatten().tolist() == [0.0, pytest.approx(0.2), 1.0]


def test_floats_stay_as_they_are():
    samples = Samples(torch.tensor([[-3.5], [700.0]]), torch.zeros(2))
    assert next(iter(everything(samples)))[0].flatten().tolist() == [-3.5, 700.0]


def test_augmentation_differs_from_pass_to_pass_and_repeats_in_a_loader_made_alike():
    def noise(x, generator):
        return torch.rand(x.shape, generator=generator)

    one, other = everything(SAMPLES, augment=noise), everything(SAMPLES, augment=noise)
    passes = [[next(iter(loader))[0] for _ in range(2)] for loader in (one, other)]
    assert not torch.equal(passes[0][0], passes[0][1])
    assert torch.equal(torch.stack(passes[0]), torch.stack(passes[1]))


def test_the_view_comes_after_augmentation_and_knows_the_rows():
    loader = shuffled(
        augment=lambda x, generator: x * 0, view=lambda x, rows: x + rows.unsqueeze(1)
    )
    for x, y in loader:
        assert torch.equal(x[:, 0].long(), y)


def test_what_is_done_to_a_batch_leaves_the_samples_alone():
    samples = Samples(torch.ones(4, 1), torch.zeros(4))
    for x, _ in everything(samples, batch_size=2):
        x.zero_()
    assert samples.x.all()
