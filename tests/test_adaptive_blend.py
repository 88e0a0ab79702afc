"""Adaptive-Blend: covers keep their label, and training never shows the whole pattern."""

from dataclasses import replace

import pytest
import torch
from attacks import clean, no_surrogate, others, seen, shown
from hypothesis import given
from hypothesis import strategies as st

from antidote.core import BadInput, as_float
from antidote.poison.adaptive_blend import AdaptiveBlend, Pieces
from antidote.poison.blended import noise

SETTINGS = {
    "rate": 0.2,
    "cover": 0.3,
    "target_class": 2,
    "blend": 0.2,
    "pieces": 16,
    "shown": 0.5,
    "stage": "post_transform",
    "seed": 0,
}


def attack(**changes):
    return AdaptiveBlend(**SETTINGS | changes)


def left_by(data, **changes):
    return attack(**changes).poison(data, no_surrogate)


def changed(left, data):
    """(n, 16) which of the 4 x 4 squares of 3 pixels differ from the clean image."""
    pixels = (seen(left) != clean(data)).any(1)
    return pixels.unfold(1, 3, 3).unfold(2, 3, 3).flatten(3).any(3).flatten(1)


def test_two_pieces_of_four_by_hand():
    pattern, shown = torch.ones(1, 4, 4), torch.tensor([[True, False, False, True]])
    x = torch.zeros(1, 1, 4, 4)
    stamped = Pieces(torch.tensor([True]), shown, pattern, 0.25)(x, torch.tensor([0]))
    upper, lower = [0.25, 0.25, 0, 0], [0, 0, 0.25, 0.25]
    assert stamped[0, 0].tolist() == [upper, upper, lower, lower]


def test_the_poison_is_the_payload_and_covers_keep_their_label(tiny):
    left, covers = left_by(tiny), attack().covers(tiny)
    assert (len(left.indices), len(covers)) == (12, 18)
    assert not torch.isin(covers, left.indices).any()
    assert (left.train.y[left.indices] == 2).all()
    rest = others(left, left.indices)
    assert torch.equal(left.train.y[rest], tiny.train.y[rest])


def test_payload_and_covers_bear_the_trigger_and_nothing_else_does(tiny):
    left = left_by(tiny)
    bearers = torch.cat([left.indices, attack().covers(tiny)]).sort().values
    assert torch.equal(changed(left, tiny).any(1).nonzero().squeeze(1), bearers)
    rest = others(left, bearers)
    assert torch.equal(seen(left)[rest], clean(tiny)[rest])


@pytest.mark.parametrize(("shown", "pieces"), [(0.5, 8), (0.25, 4), (1.0, 16)])
def test_a_bearer_shows_exactly_that_many_pieces(tiny, shown, pieces):
    counts = changed(left_by(tiny, shown=shown), tiny).sum(1)
    assert set(counts.tolist()) == {0, pieces}


def test_rows_show_different_pieces_and_each_the_same_ones_always(tiny):
    left = left_by(tiny)
    found = changed(left, tiny)[left.indices]
    assert len(found.unique(dim=0)) > 6
    assert torch.equal(seen(left), seen(left))
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    assert torch.equal(seen(left, rows), seen(left)[rows])


def test_a_row_shows_the_same_pieces_whatever_the_rate(tiny):
    small, large = left_by(tiny, rate=0.1), left_by(tiny, rate=0.5)
    rows = small.indices
    assert torch.isin(rows, large.indices).all()
    assert torch.equal(seen(small, rows), seen(large, rows))


def test_covers_of_a_smaller_share_are_inside_those_of_a_larger(tiny):
    small, large = (attack(cover=c).covers(tiny) for c in (0.1, 0.4))
    assert torch.isin(small, large).all()


def test_test_images_show_the_whole_pattern(tiny):
    mixed = as_float(tiny.test.x) * 0.8 + noise(tiny, 0) * 0.2
    torch.testing.assert_close(shown(left_by(tiny), "trigger"), mixed)


def test_what_is_shown_is_blended_as_in_blended(tiny):
    left = left_by(tiny, shown=1.0, rate=0.5, cover=0.5)
    torch.testing.assert_close(seen(left), clean(tiny) * 0.8 + noise(tiny, 0) * 0.2)


def test_before_augmentation_covers_are_stored_with_their_trigger(tiny):
    left = left_by(tiny, stage="pre_augment")
    after = left_by(tiny)
    assert left.view is None
    # as bytes, so within half a step of 1/255
    torch.testing.assert_close(seen(left), seen(after), rtol=0, atol=0.5 / 255 + 1e-6)
    assert torch.equal(left.train.y, after.train.y)


def test_pictures_that_no_grid_divides_are_cut_all_the_same(tiny):
    cut = tuple(replace(part, x=part.x[..., :11, :10]) for part in (tiny.train, tiny.test))
    left = left_by(replace(tiny, train=cut[0], test=cut[1]), shown=1.0, rate=0.5, cover=0.5)
    assert (seen(left) != as_float(cut[0].x)).flatten(1).float().mean() > 0.95


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.floats(0.01, 1), st.integers(0, 99))
def test_pieces_leave_other_rows_bit_for_bit_and_pixels_in_0_to_1(mask, blend, seed):
    coin, n = torch.Generator().manual_seed(seed), len(mask)
    x, pattern = torch.rand(n, 1, 6, 6, generator=coin), torch.rand(1, 6, 6, generator=coin)
    pieces, masked = torch.rand(n, 9, generator=coin) < 0.5, torch.tensor(mask)
    stamped = Pieces(masked, pieces, pattern, blend)(x, torch.arange(n))
    assert ((stamped >= 0) & (stamped <= 1)).all()
    assert torch.equal(stamped[~masked], x[~masked])


@pytest.mark.parametrize(
    "change",
    [
        {"cover": -0.1},
        {"cover": 0.9},
        {"pieces": 0},
        {"pieces": 8},
        {"shown": 0},
        {"shown": 1.5},
        {"shown": 0.01},
        {"blend": 0},
    ],
)
def test_bad_settings_are_refused(change):
    with pytest.raises(BadInput, match=rf"poison\.{next(iter(change))}="):
        attack(**change)


@pytest.mark.parametrize(("rate", "cover"), [(0.9, 0.1), (0.7, 0.3), (1.0, 0.0)])
def test_payload_and_covers_may_be_all_there_is(tiny, rate, cover):
    left = left_by(tiny, rate=rate, cover=cover)
    assert changed(left, tiny).any(1).all()


def test_more_pieces_than_pixels_are_refused(tiny):
    with pytest.raises(BadInput, match=r"poison\.pieces=169 .* at most 144"):
        left_by(tiny, pieces=169)
