"""Interclass confusion and label noise: which labels change, and nothing else."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from antidote.core import BadInput, Data, Samples
from antidote.engine.stages import measure
from antidote.poison.interclass import Interclass
from antidote.poison.label_noise import LabelNoise


def data(n=60, classes=4):
    y = torch.arange(n) % classes
    x = torch.zeros(n, 1, 2, 2, dtype=torch.uint8)
    one = torch.ones(1)
    names = tuple("abcdefgh"[:classes])
    return Data(Samples(x, y), Samples(x, y), names, lambda x, g: x, {"mean": 0 * one, "std": one})


def confused(rate=0.2, classes=(1, 3), rows="first", seed=0, of=None):
    return Interclass(rate, classes, rows, seed).poison(of or data(), lambda: None)


def noisy(rate=0.5, seed=0):
    return LabelNoise(rate, seed).poison(data(), lambda: None)


def test_half_of_the_poison_comes_from_each_class_and_its_labels_are_exchanged():
    left = confused()  # 12 of 60: the first six rows of class 1 (1, 5, 9, ...) and of class 3
    assert left.indices.tolist() == [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23]
    expected = [{1: 3, 3: 1}.get(r % 4, r % 4) if r < 24 else r % 4 for r in range(60)]
    assert left.train.y.tolist() == expected


def test_random_rows_follow_the_seed_and_first_rows_do_not():
    assert torch.equal(confused(seed=0).indices, confused(seed=1).indices)
    drawn = [confused(rows="random", seed=s).indices for s in (0, 1)]
    assert not torch.equal(*drawn)
    assert all((data().train.y[rows] % 2 == 1).all() and len(rows) == 12 for rows in drawn)


def test_no_image_changes():
    assert torch.equal(confused().train.x, data().train.x)
    assert torch.equal(noisy().train.x, data().train.x)


def test_the_probes_split_the_test_set_into_confused_and_other_classes():
    probes = confused().probes
    count = {name: probe.loader.count for name, probe in probes.items()}
    assert count == {"test": 60, "confused": 30, "others": 30, "poisoned": 12}


class Says(torch.nn.Module):
    """Answers every image with class `k`."""

    def __init__(self, k):
        super().__init__()
        self.k = k

    def forward(self, x):
        return torch.nn.functional.one_hot(torch.full((len(x),), self.k), 4).float()


def test_a_net_that_always_says_one_of_the_two_classes_is_half_right_and_half_obedient():
    probe = confused().probes["confused"]
    assert probe.measure(Says(1), probe.loader) == {"accuracy": 0.5, "success": 0.5}
    assert probe.measure(Says(0), probe.loader) == {"accuracy": 0.0, "success": 0.0}


def verdict(left, before, after):
    return left.verdict(measure(before, left.probes), measure(after, left.probes))


@pytest.mark.parametrize("attack", [confused, noisy])
def test_a_verdict_needs_nothing_but_what_the_probes_measure(attack):
    found = verdict(attack(), Says(1), Says(1))
    assert found["accuracy_drop"] == 0
    assert {"healed", "healed_train", "attack_success"} <= found.keys()


def test_confusion_is_healed_by_the_accuracy_of_the_two_classes_against_that_of_the_others():
    left = confused()  # classes 1 and 3; a quarter of all images are of each class
    found = verdict(left, Says(0), Says(1))
    # of the two: none right, then half; of the others: half right, then none
    assert found["healed"] == pytest.approx((0.5 - 0) / (0.5 - 0))
    assert found["accuracy_drop"] == pytest.approx(0.5)
    assert found["healed_train"] == 0.5  # six of the twelve swapped images are of class 1
    assert found["attack_success"] == 0.5


def test_label_noise_is_healed_by_the_accuracy_on_the_poison_against_clean_accuracy():
    left = noisy()
    found = verdict(left, Says(2), Says(0))
    share = [(left.truth[left.indices] == k).double().mean().item() for k in (2, 0)]
    assert found["healed_train"] == found["harmed_accuracy"] == pytest.approx(share[1])
    assert share[0] < 0.24  # so that there is something to heal
    assert found["healed"] == pytest.approx((share[1] - share[0]) / (0.25 - share[0]))


@pytest.mark.parametrize("attack", [confused, noisy])
def test_the_truth_is_the_clean_label_of_every_row(attack):
    left = attack()
    assert torch.equal(left.truth, data().train.y)
    assert not torch.equal(left.train.y, left.truth)


def test_an_odd_number_is_refused_with_a_rate_that_works():
    with pytest.raises(BadInput, match=r"15, an odd number; poison\.rate=0\.266667 gives 16"):
        confused(rate=0.25)
    assert len(confused(rate=0.266667).indices) == 16


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"classes": (1, 1)}, "two different classes"),
        ({"classes": (1, 2, 3)}, "two different classes"),
        ({"classes": (1, 9)}, "classes 0 to 3"),
        ({"rate": 0.8}, "takes 24 samples of class b, which has 15"),
        ({"rows": "last"}, "choose first or random"),
        ({"rate": 0.001}, "is no sample"),
    ],
)
def test_bad_settings_are_refused(change, sentence):
    with pytest.raises(BadInput, match=sentence):
        confused(**change)


def test_two_classes_alone_leave_no_others_to_measure():
    left = confused(classes=(0, 1), of=data(classes=2))
    assert left.probes.keys() == {"test", "confused", "poisoned"}
    # the accuracy itself is the model's use, and nothing can be told from it of healing
    found = verdict(left, Says(0), Says(1))
    assert found["healed"] is None
    assert found["accuracy_drop"] == 0


def with_test_labels(*labels):
    """The data with a test part of these labels."""
    y = torch.tensor(labels)
    return replace(data(), test=Samples(torch.zeros(len(y), 1, 2, 2, dtype=torch.uint8), y))


def test_confusion_that_cannot_be_measured_is_refused():
    with pytest.raises(BadInput, match=r"classes=\[1, 3\]: the test part has no image of either"):
        confused(of=with_test_labels(0, 0, 2))


def test_one_of_the_two_classes_is_enough_to_measure_confusion():
    assert confused(of=with_test_labels(0, 3)).probes["confused"].loader.count == 1


def test_a_test_part_of_the_two_classes_alone_leaves_no_others_to_measure():
    found = verdict(confused(of=with_test_labels(1, 3)), Says(0), Says(1))
    assert found["healed"] is None
    assert found["accuracy_drop"] == -0.5


@given(st.floats(0.2, 1.0), st.integers(0, 5))
def test_label_noise_permutes_labels_among_the_poison_and_keeps_their_histogram(rate, seed):
    clean, left = data().train.y, noisy(rate, seed)
    rows = left.indices
    assert len(rows) == round(rate * 60)
    assert torch.equal(left.train.y[rows].sort().values, clean[rows].sort().values)
    untouched = torch.ones(60, dtype=torch.bool)
    untouched[rows] = False
    assert torch.equal(left.train.y[untouched], clean[untouched])
    assert (left.train.y != clean).any()


def test_label_noise_that_changes_nothing_is_refused():
    with pytest.raises(BadInput, match="changes none"):
        noisy(rate=1 / 60)


def test_label_noise_is_measured_on_the_poisoned_images_with_their_true_labels():
    left = noisy()
    probe = left.probes["poisoned"]
    truth = torch.cat([y for _, y in probe.loader])
    assert torch.equal(truth, data().train.y[left.indices])
    wrong = left.train.y[left.indices] != truth
    expected = (left.train.y[left.indices][wrong] == 2).double().mean().item()
    assert probe.measure(Says(2), probe.loader)["success"] == pytest.approx(expected)
