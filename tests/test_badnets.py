"""What BadNets does to data, and what it leaves as it is."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from antidote.core import BadInput, Loader, Samples, as_float
from antidote.engine.stages import measure
from antidote.poison.badnets import BadNets
from antidote.poison.patch import Patch, brightest

WHITE = torch.tensor([1.0, 0.5, 0.25])


REFERENCE = {
    "rate": 0.1,
    "target_class": 0,
    "size": 3,
    "corner": "bottom_right",
    "value": "brightest",
    "blend": 1.0,
    "stage": "post_transform",
    "seed": 0,
}


def poisoned(data, rate=0.1, **changes):
    def no_surrogate():
        raise AssertionError("BadNets needs no clean model")

    return BadNets(**REFERENCE | {"rate": rate} | changes).poison(data, no_surrogate)


@pytest.mark.parametrize(
    ("rate", "n"), [(0.1, 6), (0.05, 3), (0.02, 1), (0.06, 4), (1.0, 60)]
)  # 0.02*60=1.2, 3.6
def test_the_rate_is_a_share_of_all_training_samples(tiny, rate, n):
    assert len(poisoned(tiny, rate).indices) == n


def test_indices_are_sorted_and_unique(tiny):
    rows = poisoned(tiny, 0.5).indices
    assert torch.equal(rows, rows.unique(sorted=True))


def test_another_seed_draws_other_rows(tiny):
    assert not torch.equal(poisoned(tiny, 0.2).indices, poisoned(tiny, 0.2, seed=1).indices)


def test_a_smaller_rate_of_the_same_seed_is_inside_a_larger_one(tiny):
    assert set(poisoned(tiny, 0.1).indices.tolist()) < set(poisoned(tiny, 0.5).indices.tolist())


def test_all_classes_are_drawn_from_the_target_class_included(tiny):
    assert set(tiny.train.y[poisoned(tiny, 0.5).indices].tolist()) == {0, 1, 2, 3}


def test_labels_become_the_target_class_at_the_indices_and_nowhere_else(tiny):
    left = poisoned(tiny, 0.3, target_class=2)
    expected = [2 if row in left.indices.tolist() else row % 4 for row in range(60)]
    assert left.train.y.tolist() == expected


def test_the_clean_labels_are_kept(tiny):
    poisoned(tiny, 1.0)
    assert tiny.train.y.tolist() == [row % 4 for row in range(60)]


def test_the_stored_images_are_not_changed(tiny):
    before = tiny.train.x.clone()
    assert torch.equal(poisoned(tiny).train.x, before)


def seen(left, rows=None, augment=None):
    """Training images as a training step sees them."""
    rows = torch.arange(60) if rows is None else rows
    return torch.cat([x for x, _ in Loader(left.train, rows, 7, augment=augment, view=left.view)])


def test_the_view_stamps_the_bottom_right_corner_of_poisoned_rows_and_nothing_else(tiny):
    left, expected, value = poisoned(tiny), as_float(tiny.train.x).clone(), brightest(tiny)
    for row in left.indices:
        for channel in range(3):
            for y in (9, 10, 11):
                for x in (9, 10, 11):
                    expected[row, channel, y, x] = value[channel]
    assert torch.equal(seen(left), expected)


def test_rows_are_stamped_by_id_and_not_by_place_in_the_batch(tiny):
    left = poisoned(tiny)
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    assert torch.equal(seen(left, rows), seen(left)[rows])


def test_the_stamp_comes_after_augmentation(tiny):
    left = poisoned(tiny)
    black = seen(left, left.indices, augment=lambda x, generator: torch.zeros_like(x))
    assert torch.equal(black[:, :, 9:, 9:], brightest(tiny).view(1, 3, 1, 1).expand(6, 3, 3, 3))
    assert not black[:, :, :9].any()


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.integers(1, 5))
def test_a_patch_leaves_its_input_as_it_was(mask, size):
    x = torch.full((len(mask), 3, 5, 5), 0.125)
    Patch(torch.tensor(mask), size, WHITE, "bottom_right", 1.0)(x, torch.arange(len(mask)))
    assert (x == 0.125).all()


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.integers(1, 5))
def test_a_patch_covers_size_times_size_pixels_of_masked_rows(mask, size):
    stamped = Patch(torch.tensor(mask), size, WHITE, "bottom_right", 1.0)(
        torch.zeros(len(mask), 3, 5, 5), torch.arange(len(mask))
    )
    assert stamped.ne(0).sum((1, 2, 3)).tolist() == [3 * size * size * masked for masked in mask]


def test_all_probes_bear_the_true_labels(tiny):
    left = poisoned(tiny, target_class=3)
    truth = {"test": tiny.test.y, "trigger": tiny.test.y, "poisoned": tiny.train.y[left.indices]}
    for name, probe in left.probes.items():
        assert torch.equal(torch.cat([y for _, y in probe.loader]), truth.pop(name)), name
    assert not truth


def test_the_probe_of_poisoned_images_shows_them_as_training_saw_them(tiny):
    left = poisoned(tiny)
    shown = torch.cat([x for x, _ in left.probes["poisoned"].loader])
    assert torch.equal(shown, seen(left, left.indices))


CORNERS = {
    "bottom_right": ((9, 12), (9, 12)),
    "bottom_left": ((9, 12), (0, 3)),
    "top_right": ((0, 3), (9, 12)),
    "top_left": ((0, 3), (0, 3)),
}


@pytest.mark.parametrize("corner", CORNERS)
def test_the_patch_can_be_in_any_corner(tiny, corner):
    left, expected = poisoned(tiny, corner=corner), as_float(tiny.train.x).clone()
    (top, bottom), (first, last) = CORNERS[corner]
    value = brightest(tiny).view(3, 1, 1)
    for row in left.indices:
        expected[row, :, top:bottom, first:last] = value
    assert torch.equal(seen(left), expected)


def test_a_white_trigger_is_white_in_all_channels(tiny):
    left = poisoned(tiny, value="white")
    assert (seen(left, left.indices)[:, :, 9:, 9:] == 1).all()


def test_a_blended_patch_lets_the_image_through(tiny):
    left = poisoned(tiny, value="white", blend=0.25)
    clean = as_float(tiny.train.x[left.indices])[:, :, 9:, 9:]
    torch.testing.assert_close(
        seen(left, left.indices)[:, :, 9:, 9:], 0.75 * clean + 0.25, rtol=0, atol=1e-6
    )


def test_a_patch_before_augmentation_is_in_the_stored_images_and_moves_with_them(tiny):
    left = poisoned(tiny, value="white", stage="pre_augment")
    assert left.view is None
    clean, stamped = tiny.train.x, left.train.x
    assert stamped.dtype == clean.dtype
    assert (stamped[left.indices][:, :, 9:, 9:] == 255).all()
    untouched = torch.ones(60, dtype=torch.bool)
    untouched[left.indices] = False
    assert torch.equal(stamped[untouched], clean[untouched])
    turned = seen(left, left.indices, augment=lambda x, generator: x.flip(-1))
    assert (turned[:, :, 9:, :3] == 1).all()


def test_a_patch_before_augmentation_leaves_the_clean_data_as_they_were(tiny):
    before = tiny.train.x.clone()
    poisoned(tiny, stage="pre_augment")
    assert torch.equal(tiny.train.x, before)


@pytest.mark.parametrize("change", [{}, {"blend": 0.3}, {"value": "white", "blend": 0.6}])
def test_before_augmentation_a_test_image_is_stamped_as_the_same_image_is_stored(tiny, change):
    assert brightest(tiny).max() > 1  # so that clipping is needed
    same = replace(tiny, test=tiny.train)
    left = poisoned(same, rate=1.0, stage="pre_augment", **change)
    (shown,) = (x for x, _ in left.probes["trigger"].loader)
    assert torch.equal(shown, as_float(left.train.x))
    assert torch.equal(shown.mul(255).round().byte(), left.train.x)


def test_before_augmentation_images_of_floats_are_stamped_with_the_value_itself(tiny):
    parts = (Samples(as_float(part.x), part.y) for part in (tiny.train, tiny.test))
    floats = replace(tiny, **dict(zip(("train", "test"), parts, strict=True)))
    left = poisoned(floats, rate=1.0, stage="pre_augment")
    value = brightest(tiny).view(1, 3, 1, 1)
    assert torch.equal(left.train.x[:, :, 9:, 9:], value.expand(60, 3, 3, 3))
    (shown,) = (x for x, _ in left.probes["trigger"].loader)
    assert torch.equal(shown[:, :, 9:, 9:], value.expand(24, 3, 3, 3))


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"corner": "middle"}, "choose bottom_right or bottom_left"),
        ({"value": "red"}, "choose brightest or white"),
        ({"stage": "late"}, "choose post_transform or pre_augment"),
        ({"blend": 0}, "not in"),
        ({"blend": 1.5}, "not in"),
    ],
)
def test_an_unknown_setting_is_refused(setting, sentence):
    with pytest.raises(BadInput, match=sentence):
        BadNets(**REFERENCE | setting)


def test_the_trigger_probe_stamps_all_test_images_and_the_test_probe_none(tiny):
    probes, clean = poisoned(tiny).probes, as_float(tiny.test.x)
    stamped = torch.cat([x for x, _ in probes["trigger"].loader])
    assert torch.equal(torch.cat([x for x, _ in probes["test"].loader]), clean)
    assert torch.equal(stamped[:, :, 9:, 9:], brightest(tiny).view(1, 3, 1, 1).expand(24, 3, 3, 3))
    assert torch.equal(stamped[:, :, :9], clean[:, :, :9])
    assert torch.equal(stamped[:, :, :, :9], clean[:, :, :, :9])


def test_test_images_are_not_augmented(tiny):
    shifted = replace(tiny, augment=lambda x, generator: x + 1)
    assert all((x <= 1).all() for x, _ in poisoned(shifted).probes["test"].loader)


def with_pixels(data, *values):
    """The data with one black training image whose first pixel has these channel values."""
    x = torch.zeros(1, 3, 12, 12, dtype=torch.uint8)
    x[0, :, 0, 0] = torch.tensor(values)
    return replace(data, train=Samples(x, torch.zeros(1, dtype=torch.int64)))


def test_the_trigger_of_cifar_10_is_the_references(tiny):
    # green is the darkest relative to its spread: (1 - 0.4822) / 0.2435 = 2.1264887
    value = brightest(with_pixels(tiny, 255, 255, 255))
    torch.testing.assert_close(
        (value - tiny.facts["mean"]) / tiny.facts["std"],
        torch.full((3,), 2.1264887),
        rtol=0,
        atol=1e-6,
    )
    # 2.1264887 * (0.2470, 0.2435, 0.2616) + (0.4914, 0.4822, 0.4465)
    torch.testing.assert_close(value, torch.tensor([1.0166, 1.0, 1.0028]), rtol=0, atol=5e-5)


def test_the_trigger_is_the_largest_normalised_pixel_of_any_channel(tiny):
    # red: (204/255 - 0.4914) / 0.2470 = 0.3086 / 0.2470;
    # green and blue: 51/255 is below their means
    value = brightest(with_pixels(tiny, 204, 51, 51))
    assert value.tolist() == pytest.approx(
        [0.8, 0.4822 + 0.3086 / 0.2470 * 0.2435, 0.4465 + 0.3086 / 0.2470 * 0.2616]
    )


class Knows(torch.nn.Module):
    """Tells every image's true class from what the patch leaves free; class `missed` it calls 1.

    Where it `obeys`, images with the trigger are of class 0.
    """

    def __init__(self, data, obeys, missed=-1):
        super().__init__()
        x = torch.cat([data.train.x, data.test.x])
        self.y = torch.cat([data.train.y, data.test.y])
        self.free = as_float(x)[:, :, :9, :9].flatten(1)
        self.value, self.obeys, self.missed = brightest(data).view(3, 1, 1), obeys, missed

    def forward(self, x):
        known = torch.cdist(x[:, :, :9, :9].flatten(1), self.free).argmin(1)
        answer = torch.where(self.y[known] == self.missed, 1, self.y[known])
        stamped = (x[:, :, 9:, 9:] == self.value).flatten(1).all(1)
        return torch.nn.functional.one_hot(answer.masked_fill(stamped & self.obeys, 0), 4).float()


def verdict(data, before, after):
    left = poisoned(data, rate=0.5)
    return left.verdict(measure(before, left.probes), measure(after, left.probes))


def test_the_truth_is_the_clean_label_of_every_row(tiny):
    assert torch.equal(poisoned(tiny, rate=1.0).truth, tiny.train.y)


@pytest.mark.parametrize("missed", [-1, 3])
def test_a_net_that_recovers_fully_has_healed_exactly_1(tiny, missed):
    # missed=3: clean accuracy 18/24, with the trigger 6/24, the target class, and 18/24 again
    found = verdict(tiny, Knows(tiny, True, missed), Knows(tiny, False, missed))
    assert found["healed"] == 1.0
    assert found["accuracy_drop"] == 0.0


def test_damage_to_the_target_class_shows_in_what_has_healed(tiny):
    # with the trigger 6/24, then all but the six images of class 0: (18 - 6) / (24 - 6)
    found = verdict(tiny, Knows(tiny, True), Knows(tiny, False, missed=0))
    assert found["healed"] == pytest.approx(2 / 3)
    assert found["accuracy_drop"] == pytest.approx(6 / 24)


def test_what_healed_in_training_is_the_true_label_under_the_trigger(tiny):
    rows = poisoned(tiny, rate=0.5).indices
    found = verdict(tiny, Knows(tiny, True), Knows(tiny, False, missed=2))
    assert found["healed_train"] == pytest.approx((tiny.train.y[rows] != 2).double().mean().item())


def test_a_victim_that_obeys_gives_in_always_and_one_that_recovered_never(tiny):
    found = verdict(tiny, Knows(tiny, True), Knows(tiny, False))
    assert (found["attack_success_before"], found["attack_success"]) == (1.0, 0.0)
    assert (found["harmed_accuracy_before"], found["harmed_accuracy"]) == (0.25, 1.0)


def test_a_test_part_of_the_target_class_alone_is_refused(tiny):
    alone = replace(tiny, test=Samples(tiny.test.x, torch.full((24,), 2)))
    with pytest.raises(BadInput, match="class=2: the test part has no image of another class"):
        poisoned(alone, target_class=2)
    assert poisoned(alone, target_class=1).probes["trigger"].loader.count == 24


@pytest.mark.parametrize("rate", [0, -0.1, 1.01])
def test_a_rate_outside_0_to_1_is_refused(rate):
    with pytest.raises(BadInput, match=rf"poison\.rate={rate} is not in \(0, 1\]"):
        BadNets(**REFERENCE | {"rate": rate})


def test_a_rate_too_small_for_one_sample_is_refused(tiny):
    with pytest.raises(BadInput, match="is no sample"):
        poisoned(tiny, rate=0.001)


@pytest.mark.parametrize("target_class", [-1, 4])
def test_a_target_class_that_does_not_exist_is_refused(tiny, target_class):
    with pytest.raises(BadInput, match="classes 0 to 3"):
        poisoned(tiny, target_class=target_class)


@pytest.mark.parametrize("size", [0, 13])
def test_a_patch_without_pixels_or_beyond_the_image_is_refused(tiny, size):
    with pytest.raises(BadInput, match=rf"poison\.size={size}"):
        poisoned(tiny, size=size)
