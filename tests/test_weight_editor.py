"""What a weight editor measures on, and its edit without a search."""

import pytest
import torch
from torch import nn

from antidote.core import BadInput, Loader, Memo, Samples, Split, Victim
from antidote.core.data import described
from antidote.unlearning.cutoff import Fixed
from antidote.unlearning.objective import norm, squared_norm
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


def net_and_history(**changes):
    net = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0], [3.0]]))
    return net, editor(**changes).unlearn(Victim(net, lambda: net), split())


def test_an_edit_of_two_weights_is_as_by_hand():
    # f = w x and ell = mean ||f||^2, so d ell / d w = 2 w mean x^2.
    # Known 2, 5 are one batch: mean x^2 = 29 / 2.
    # The rest in one batch (batch_size 5): (0 + 1 + 9 + 16 + 36) / 5 = 12.4.
    # r = 14.5 / 12.4 = 1.169 for both weights
    net, _ = net_and_history(batch_size=5, cutoff=Fixed(1.0))
    assert net.weight.flatten().tolist() == pytest.approx([12.4 / 14.5, 3 * 12.4 / 14.5])


def test_the_importance_of_everything_holds_the_known_poison_too():
    # all seven: (0 + 1 + 4 + 9 + 16 + 25 + 36) / 7 = 13
    net, _ = net_and_history(batch_size=7, cutoff=Fixed(1.0), denominator="full")
    assert net.weight.flatten().tolist() == pytest.approx([13 / 14.5, 3 * 13 / 14.5])


def test_nothing_above_the_cutoff_leaves_the_net_as_it_is():
    net, history = net_and_history(batch_size=5, cutoff=Fixed(1.2))
    assert net.weight.flatten().tolist() == [1.0, 3.0]
    assert history.steps[0]["dampened"] == 0


def test_the_cost_is_one_gradient_per_sample_of_both_passes():
    assert net_and_history()[1].sample_gradients == 2 + 5
    assert net_and_history(denominator="full")[1].sample_gradients == 2 + 7


def test_the_known_share_is_of_the_whole_training_set():
    assert editor().measure(nn.Linear(1, 2), split()).frac == 2 / 7


class Shelf(Memo):
    """Spares some seconds, and notes what it is asked for."""

    def __init__(self, seconds=0.0):
        self.seconds, self.asked = seconds, []

    def tensors(self, work, net, loaders, compute):
        self.asked.append((work, net, loaders))
        return compute(), self.seconds


def remembered(shelf):
    whole = split()
    return Split(whole.forget, whole.retain, shelf)


@pytest.mark.parametrize("seconds", [0.0, 12.5])
def test_time_that_was_spared_is_reported(seconds):
    net = nn.Linear(1, 2)
    history = editor().unlearn(Victim(net, lambda: net), remembered(Shelf(seconds)))
    assert history.saved == seconds


def test_importances_are_remembered_by_the_net_and_the_loaders_of_the_call():
    shelf, one, other = Shelf(), nn.Linear(1, 2), nn.Linear(1, 2)
    seen, method = remembered(shelf), editor()
    for net in (one, other):
        method.measure(net, seen)
    (work,) = method.work()
    loaders = [seen.forget, seen.retain]
    assert shelf.asked == [(work, one, loaders), (work, other, loaders)]


def test_an_editor_used_twice_measures_each_net_anew():
    method, nets = editor(cutoff=Fixed(0.5)), [nn.Linear(1, 2, bias=False) for _ in range(2)]
    for net, w in zip(nets, (1.0, 3.0), strict=True):
        net.weight.data.fill_(w)
        method.unlearn(Victim(net, nn.Identity), split())
    assert torch.equal(3 * nets[0].weight, nets[1].weight)
    assert nets[0].weight.max() < 1


def what(method):
    """What determines its importances, as a store knows it."""
    (work,) = method.work()
    return described(work.what)


def test_a_plan_calls_the_work_by_its_objective():
    (work,) = editor().work()
    assert (work.kind, work.name) == ("importances", "importances, squared_norm")


@pytest.mark.parametrize(
    "other",
    [
        {"objective": norm},
        {"power": 2},
        {"batch_size": 3},
        {"denominator": "full"},
        {"weighting": "samples"},
        {"augment": True},
        {"seed": 1},
    ],
)
def test_whatever_changes_importances_is_part_of_what_they_are_remembered_by(other):
    assert what(editor()) != what(editor(**other))


@pytest.mark.parametrize("other", [{"cutoff": Fixed(3.0)}, {"strength": 0.5}])
def test_cutoff_and_strength_reuse_importances(other):
    assert what(editor()) == what(editor(**other))


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
