"""What a weight editor measures on, and its edit without a search."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from antidote.checks import BadInput
from antidote.core import Loader, Samples, Split
from antidote.unlearning.cutoff import Fixed
from antidote.unlearning.objective import squared_norm
from antidote.unlearning.weight_editor import WeightEditor

KNOWN = torch.tensor([2, 5])
REST = torch.tensor([0, 1, 3, 4, 6])


def brighten(x, generator):
    return x + 100


def split(augment=None):
    samples = Samples(torch.arange(7.0).unsqueeze(1), torch.zeros(7, dtype=torch.int64))
    return Split(Loader(samples, KNOWN, augment=augment), Loader(samples, REST, augment=augment))


def editor(**changes):
    settings = {
        "objective": squared_norm,
        "power": 1,
        "cutoff": Fixed(2.0),
        "strength": 1.0,
        "batch_size": 2,
    }
    settings |= {"denominator": "retain", "weighting": "batches", "augment": False, "seed": 0}
    return WeightEditor(**settings | changes)


def content(loader):
    return torch.cat([x for x, _ in loader]).flatten().int().tolist()


def test_the_numerator_is_measured_on_the_known_poison():
    assert sorted(content(editor().loaders(split())["I_f"])) == [2, 5]


@pytest.mark.parametrize(
    ("denominator", "rows"), [("retain", [0, 1, 3, 4, 6]), ("full", [0, 1, 2, 3, 4, 5, 6])]
)
def test_the_denominator_is_measured_on_the_rest_or_on_everything(denominator, rows):
    assert sorted(content(editor(denominator=denominator).loaders(split())["I_r"])) == rows


def test_batches_are_random_so_that_none_holds_one_class_of_a_sorted_data_set():
    samples = Samples(torch.arange(100.0).unsqueeze(1), torch.zeros(100, dtype=torch.int64))
    big = Split(Loader(samples, torch.arange(2)), Loader(samples, torch.arange(2, 100)))
    read = content(editor().loaders(big)["I_r"])
    assert read != sorted(read)


def test_importances_are_measured_again_on_the_same_batches():
    assert content(editor().loaders(split())["I_r"]) == content(editor().loaders(split())["I_r"])


@pytest.mark.parametrize(("augment", "rows"), [(False, [2, 5]), (True, [102, 105])])
def test_images_are_augmented_only_if_asked(augment, rows):
    assert sorted(content(editor(augment=augment).loaders(split(brighten))["I_f"])) == rows


def net_and_report(**changes):
    net = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0], [3.0]]))
    return net, editor(**changes).unlearn(SimpleNamespace(net=net), split())


def test_an_edit_of_two_weights_is_as_by_hand():
    # f = w x and ell = mean ||f||^2, so d ell / d w = 2 w mean x^2.
    # Known 2, 5 are one batch: mean x^2 = 29 / 2.
    # The rest in one batch (batch_size 5): (0 + 1 + 9 + 16 + 36) / 5 = 12.4.
    # r = 14.5 / 12.4 = 1.169 for both weights
    net, _ = net_and_report(batch_size=5, cutoff=Fixed(1.0))
    assert net.weight.flatten().tolist() == pytest.approx([12.4 / 14.5, 3 * 12.4 / 14.5])


def test_the_importance_of_everything_holds_the_known_poison_too():
    # all seven: (0 + 1 + 4 + 9 + 16 + 25 + 36) / 7 = 13
    net, _ = net_and_report(batch_size=7, cutoff=Fixed(1.0), denominator="full")
    assert net.weight.flatten().tolist() == pytest.approx([13 / 14.5, 3 * 13 / 14.5])


def test_nothing_above_the_cutoff_leaves_the_net_as_it_is():
    net, report = net_and_report(batch_size=5, cutoff=Fixed(1.2))
    assert net.weight.flatten().tolist() == [1.0, 3.0]
    assert report.steps[0]["dampened"] == 0


def test_the_cost_is_one_gradient_per_sample_of_both_passes():
    assert net_and_report()[1].sample_gradients == 2 + 5
    assert net_and_report(denominator="full")[1].sample_gradients == 2 + 7


def test_the_known_share_is_of_the_whole_training_set():
    assert editor().measure(nn.Linear(1, 2), split()).frac == 2 / 7


@pytest.mark.parametrize("seconds", [0.0, 12.5])
def test_time_that_a_cache_saved_is_reported(seconds):
    def once(parts, work):
        return work(), seconds

    whole = split()
    remembered = Split(whole.forget, whole.retain, once)
    assert editor().unlearn(SimpleNamespace(net=nn.Linear(1, 2)), remembered).saved == seconds


@pytest.mark.parametrize(
    "other",
    [
        {"power": 2},
        {"batch_size": 3},
        {"denominator": "full"},
        {"weighting": "samples"},
        {"augment": True},
        {"seed": 1},
    ],
)
def test_whatever_changes_importances_is_part_of_what_they_are_remembered_by(other):
    assert editor().what() != editor(**other).what()


@pytest.mark.parametrize("other", [{"cutoff": Fixed(3.0)}, {"strength": 0.5}])
def test_cutoff_and_strength_reuse_importances(other):
    assert editor().what() == editor(**other).what()


@pytest.mark.parametrize(
    "wrong",
    [
        {"power": 3},
        {"denominator": "all"},
        {"weighting": "none"},
        {"strength": 0},
        {"batch_size": 0},
    ],
)
def test_settings_without_meaning_are_refused_by_name(wrong):
    with pytest.raises(BadInput, match=rf"{next(iter(wrong))}="):
        editor(**wrong)
