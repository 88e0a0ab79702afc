"""Triggers from moments: known answers, whose rows bear them, and what is no trigger."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training import split

from antidote.core import Loader, Samples, everything
from antidote.unlearning.trigger import LEAST, Moments, Trigger, Triggers

KNOWN, RETAINED, SIGMAS = 1000, 4000, 5.5
DEVIATION = 0.6 / math.sqrt(12)  # of pixels uniform in 0.2..0.8
KURTOSIS = 1.8  # of anything uniform
SHAPE = (2, 4, 4)


def uniform(n, seed=0):
    """Images whose pixels leave room for a wave."""
    coin = torch.Generator().manual_seed(seed)
    return 0.2 + 0.6 * torch.rand(n, *SHAPE, generator=coin)


PATTERN = torch.rand(*SHAPE, generator=torch.Generator().manual_seed(99))
WAVE = 0.15 * torch.sin(torch.arange(4.0)).expand(*SHAPE)
PATCH = torch.zeros(SHAPE, dtype=torch.bool)
PATCH[:, 2:, 2:] = True
OTHER, CORNER = PATCH.flip(1, 2), torch.zeros(SHAPE, dtype=torch.bool)
CORNER[:, 3, 3] = True


def patched(x, where=PATCH):
    return torch.where(where, 0.95, x)


def blended(x, opacity=0.4):
    return x.lerp(PATTERN.expand_as(x), opacity)


def waved(x):
    return x + WAVE


# a trigger, and how much of each pixel shines through it
STAMPS = {
    "patch": (patched, (~PATCH).double()),
    "blend": (blended, torch.full(SHAPE, 0.6, dtype=torch.float64)),
    "wave": (waved, torch.ones(SHAPE, dtype=torch.float64)),
}
SEES_THROUGH = ["blend", "wave"]


def mean_error(n):
    return SIGMAS * DEVIATION / math.sqrt(n)


def ratio_error(n, m):
    """Of the ratio of two estimated deviations, relative."""
    return SIGMAS * math.sqrt((KURTOSIS - 1) / 4 * (1 / n + 1 / m))


def learned(stamp, seed=0):
    """The trigger of rows of all labels that are stamped and labelled 0."""
    x = uniform(KNOWN + RETAINED, seed)
    y = torch.arange(len(x)) % 3
    x[:KNOWN], y[:KNOWN] = stamp(x[:KNOWN]), 0
    return Triggers(split(x, y, known=range(KNOWN))).of[0]


@pytest.fixture(scope="module", params=STAMPS)
def case(request):
    """(stamp, what shines through, the trigger as learned)"""
    stamp, through = STAMPS[request.param]
    return stamp, through, learned(stamp)


def test_moments_are_those_of_all_rows():
    x = uniform(7)
    moments = Moments.of(everything(Samples(x, torch.zeros(7).long()), batch_size=3))
    assert moments.n == 7
    torch.testing.assert_close(moments.mean, x.double().mean(0))
    torch.testing.assert_close(moments.variance, x.double().var(0, correction=0))


def test_moments_are_of_rows_with_their_trigger_but_not_augmented():
    samples = Samples(uniform(6), torch.zeros(6).long())
    how = {"augment": lambda x, coin: 0 * x, "view": lambda x, rows: x + 0.1}
    moments = Moments.of(everything(samples, **how))
    torch.testing.assert_close(moments.mean, samples.x.double().mean(0) + 0.1)


def test_moments_of_parts_in_their_own_shares_are_those_of_the_whole():
    samples = Samples(uniform(30), torch.zeros(30).long())
    parts = [Moments.of(Loader(samples, rows)) for rows in torch.arange(30).split([5, 25])]
    mixed = Moments.mixed(parts, torch.tensor([5.0, 25.0]))
    whole = Moments.of(everything(samples))
    assert mixed.n == pytest.approx(30)
    torch.testing.assert_close(mixed.mean, whole.mean)
    torch.testing.assert_close(mixed.square, whole.square)


def test_a_mixture_is_no_surer_than_the_part_that_it_is_made_of():
    samples = Samples(uniform(30), torch.zeros(30).long())
    parts = [Moments.of(Loader(samples, rows)) for rows in torch.arange(30).split([5, 25])]
    assert Moments.mixed(parts, torch.tensor([1.0, 0.0])).n == pytest.approx(5)
    # two means of 5 and 25 rows, half each: variance s / 4 (1/5 + 1/25)
    assert Moments.mixed(parts, torch.tensor([1.0, 1.0])).n == pytest.approx(4 / (1 / 5 + 1 / 25))


def test_the_marked_mean_is_that_of_the_stamp(case):
    stamp, _, trigger = case
    expected = stamp(torch.full(SHAPE, 0.5)).double()
    assert (trigger.marked.mean - expected).abs().max() < mean_error(KNOWN)


def test_what_shines_through_is_what_the_arithmetic_says(case):
    _, through, trigger = case
    assert (trigger.s - through).abs().max() < ratio_error(KNOWN, RETAINED)


def test_an_opaque_patch_lets_nothing_through():
    assert learned(patched).s[PATCH].abs().max() < 1e-6


def test_the_change_is_that_of_a_mean_image(case):
    stamp, through, trigger = case
    middle = torch.full(SHAPE, 0.5)
    expected = (stamp(middle) - middle).double()
    error = SIGMAS * DEVIATION * (through**2 / KNOWN + 1 / RETAINED).sqrt()
    assert ((trigger.change - expected).abs() < error).all()


def test_a_stamp_is_the_true_one(case):
    stamp, _, trigger = case
    x = uniform(200, seed=1)
    error = mean_error(KNOWN) + mean_error(RETAINED) + 0.3 * ratio_error(KNOWN, RETAINED)
    assert (trigger.stamp(x) - stamp(x)).abs().max() < error


@pytest.mark.parametrize("name", SEES_THROUGH)
def test_a_trigger_that_is_seen_through_is_taken_off(name):
    stamp, through = STAMPS[name]
    x = uniform(200, seed=1)
    error = mean_error(KNOWN) + mean_error(RETAINED) + 0.3 * ratio_error(KNOWN, RETAINED)
    found = learned(stamp).removed(stamp(x))
    assert (found - x).abs().max() < error / through.min()
    assert (found - x).abs().max() < 0.1 * (stamp(x) - x).abs().max() + 0.05


def test_under_an_opaque_patch_is_the_mean_and_beside_it_the_image():
    trigger, x = learned(patched), uniform(200, seed=1)
    found, mean = trigger.removed(patched(x)), trigger.plain.mean.float()
    torch.testing.assert_close(found[:, PATCH], mean[PATCH].expand(200, -1))
    error = 2 * mean_error(KNOWN) + 0.3 * ratio_error(KNOWN, RETAINED)
    assert (found - x)[:, ~PATCH].abs().max() < error


def test_a_pixel_that_hardly_shines_through_is_not_worked_out_again():
    trigger = learned(lambda x: blended(x, 0.8))
    assert (trigger.s < LEAST).all()
    found = trigger.removed(blended(uniform(20, seed=1), 0.8))
    torch.testing.assert_close(found, trigger.plain.mean.float().expand(20, *SHAPE))


def test_a_pixel_that_never_varies_shines_through():
    x, y = uniform(40), torch.arange(40) % 2
    x[:, :, 0] = 0.0
    trigger = Triggers(split(x, y, known=range(10))).of[0]
    assert (trigger.s[:, 0] == 1).all()
    assert trigger.removed(x).isfinite().all()


def arbitrary(seed, n, m):
    """A trigger from any rows in 0..1, alike or not, black, white or constant."""
    coin = torch.Generator().manual_seed(seed)

    def some(n):
        x = torch.rand(n, 1, 3, 3, generator=coin)
        kind = torch.randint(4, (1, 1, 3, 3), generator=coin)
        return torch.where(kind == 0, x.round(), torch.where(kind == 1, 0.5, x))

    marked, plain = (
        Moments.of(everything(Samples(some(k), torch.zeros(k).long()))) for k in (n, m)
    )
    return Trigger(marked, plain, False), some(12), torch.randperm(12, generator=coin)


RANDOM = st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 20)


@given(*RANDOM)
def test_pixels_stay_pixels(seed, n, m):
    trigger, x, _ = arbitrary(seed, n, m)
    for found in (trigger.stamp(x), trigger.removed(x)):
        assert found.dtype == x.dtype
        assert ((found >= 0) & (found <= 1)).all()  # NaN is neither


@given(*RANDOM)
def test_rows_are_stamped_one_by_one(seed, n, m):
    trigger, x, order = arbitrary(seed, n, m)
    for verb in (trigger.stamp, trigger.removed):
        assert torch.equal(verb(x[order]), verb(x)[order])
        assert torch.equal(verb(x[:1]), verb(x)[:1])


def blobs(n, seed=0, classes=4):
    """Images of classes whose means differ by far more than a trigger does in the mean."""
    middle = 0.3 + 0.4 * torch.rand(classes, *SHAPE, generator=torch.Generator().manual_seed(7))
    y = torch.arange(n) % classes
    noise = torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(seed)) - 0.5
    return middle[y] + 0.2 * noise, y


def test_badnets_rows_come_from_all_classes():
    x, y = blobs(600)
    x[:80], y[:80] = patched(x[:80]), 0
    trigger = Triggers(split(x, y, known=range(80))).of[0]
    assert trigger.there
    assert not trigger.true
    assert not trigger.bears_truth
    assert trigger.change[PATCH].abs().min() > 5 * trigger.change[~PATCH].abs().max()


def test_a_clean_label_waves_rows_bear_their_true_label():
    x, y = blobs(600)
    known = (y == 2).nonzero().squeeze(1)[:60]
    x[known] = waved(x[known])
    trigger = Triggers(split(x, y, known=known.tolist())).of[2]
    assert trigger.true
    assert trigger.bears_truth
    assert (trigger.change - WAVE).abs().max() < 0.06


def test_all_to_all_has_one_trigger_for_all_labels():
    """Of a small patch: that the rows of a label are of another class is the larger change."""
    x, y = blobs(600)
    x[:120], y[:120] = patched(x[:120], CORNER), (y[:120] + 1) % 4
    triggers = Triggers(split(x, y, known=range(120)))
    assert triggers.of.keys() == {0, 1, 2, 3}
    assert all(trigger is triggers.of[0] for trigger in triggers.of.values())
    (trigger,) = triggers.there()
    assert trigger.change[CORNER].min() > 5 * trigger.change[~CORNER].abs().max()


def test_each_of_two_labels_has_the_trigger_that_it_comes_with():
    x, y = blobs(800)
    x[:80], y[:80] = patched(x[:80]), 0
    x[80:160], y[80:160] = patched(x[80:160], OTHER), 1
    triggers = Triggers(split(x, y, known=range(160)))
    assert len(triggers.there()) == 2
    for label, where in ((0, PATCH), (1, OTHER)):
        change = triggers.of[label].change
        assert change[where].min() > 5 * change[~where].abs().max()


def often(label):
    """In how many of 100 draws of 20 rows a trigger is seen; `label(y, rows)` relabels them."""
    seen = 0
    for seed in range(100):
        x, y = blobs(480, seed)
        rows = torch.randperm(480, generator=torch.Generator().manual_seed(seed))[:20]
        y = label(y, rows)
        seen += bool(Triggers(split(x, y, known=rows.tolist())).there())
    return seen


def test_rows_without_a_trigger_have_none():
    assert often(lambda y, rows: y) == 0


def test_mislabelled_rows_seldom_seem_to_have_a_trigger():
    """20 rows of 4 classes are no even mixture; measured: 8 % of 300 draws."""
    assert often(lambda y, rows: y.scatter(0, rows, 0)) <= 15


def test_rows_of_one_class_have_no_trigger():
    """By chance 1 draw of 300 seems to."""
    seen = 0
    for seed in range(100):
        x, y = blobs(480, seed)
        known = (y == 3).nonzero().squeeze(1)[:20].tolist()
        seen += bool(Triggers(split(x, y, known=known)).there())
    assert seen <= 2


def test_nearly_all_rows_of_a_class_have_no_trigger_either():
    """The few that are left say little of the class, which is no change."""
    seen = []
    for seed in range(20):
        x, y = blobs(480, seed)
        known = (y == 3).nonzero().squeeze(1)[:115].tolist()
        seen += Triggers(split(x, y, known=known)).there()
    assert not seen


def test_two_classes_that_exchange_labels_are_no_trigger():
    for seed in range(10):
        x, y = blobs(480, seed)
        known = torch.cat([(y == c).nonzero().squeeze(1)[:30] for c in (0, 1)])
        y[known] = 1 - y[known]
        assert not Triggers(split(x, y, known=known.tolist())).there()


def sound(triggers):
    """No NaN anywhere."""
    x = uniform(3)
    return all(
        t.isfinite().all()
        for trigger in triggers.of.values()
        for t in (trigger.s, trigger.change, trigger.stamp(x), trigger.removed(x))
    ) and all(math.isfinite(trigger.size) for trigger in triggers.of.values())


@pytest.mark.parametrize("odd", [False, True])
def test_a_single_row_is_no_trigger(odd):
    """Not even an image like no other: what of it is the trigger cannot be told."""
    for seed in range(20):
        x, y = blobs(200, seed)
        x[seed] = 1.0 if odd else patched(x[seed])
        triggers = Triggers(split(x, y, known=[seed]))
        assert not triggers.there()
        assert sound(triggers)


def test_a_label_without_retained_rows_is_taken_for_one_of_all_classes():
    x, y = blobs(400)
    x[:60], y[:60] = patched(x[:60]), 9
    triggers = Triggers(split(x, y, known=range(60)))
    assert triggers.of[9].there
    assert not triggers.of[9].true
    assert sound(triggers)


def test_a_label_without_retained_rows_beside_others():
    x, y = blobs(400)
    x[:60], y[:60] = patched(x[:60]), torch.arange(60) // 4 % 2 * 9
    triggers = Triggers(split(x, y, known=range(60)))
    assert triggers.of.keys() == {0, 9}
    assert all(trigger.there and not trigger.bears_truth for trigger in triggers.of.values())
    assert sound(triggers)


def test_a_class_under_another_ones_label_is_no_trigger():
    """One side of a swap: the difference of the classes is none."""
    for seed in range(10):
        x, y = blobs(480, seed)
        known = (y == 2).nonzero().squeeze(1)[:30]
        y[known] = 0
        assert not Triggers(split(x, y, known=known.tolist())).there()


def test_a_faint_patch_is_seen_in_its_pixels_if_not_in_the_whole():
    coin = torch.Generator().manual_seed(0)
    x, y = torch.rand(500, 1, 28, 28, generator=coin), torch.arange(500) % 4
    faint = torch.zeros(28, 28, dtype=torch.bool)
    faint[:2, :2] = True
    x[:, :, faint] /= 2
    x[:40, :, faint], y[:40] = 0.4 + x[:40, :, faint] / 5, 0
    (trigger,) = Triggers(split(x, y, known=range(40))).there()
    assert (trigger.change**2).mean() < 2 * trigger.chance.mean()
    assert trigger.clear[:, faint].all()
    assert not trigger.clear[:, ~faint].any()


def test_a_rare_pixel_that_is_on_in_one_known_row_is_no_trigger():
    """Chance by all rows says that it hardly ever is; the known ones themselves, that it varies."""
    x, y = blobs(480)
    x[:, :, 0, 0] = 0
    x[0, :, 0, 0] = 1
    trigger = Triggers(split(x, y, known=[0, 4, 8])).of[0]
    z = trigger.change / trigger.chance.sqrt()
    assert z[:, 0, 0].abs().max() > 6
    assert not trigger.clear.any()


def test_a_rare_second_trigger_is_told_from_the_first():
    x, y = blobs(800)
    x[:144], y[:144] = patched(x[:144]), 0
    x[144:160], y[144:160] = patched(x[144:160], OTHER), 1
    change = Triggers(split(x, y, known=range(160))).of[1].change
    assert change[OTHER].min() > 5 * change[PATCH].abs().max()
