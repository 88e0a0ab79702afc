"""Guessed labels: each way by hand, and which of them is trusted."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from training import linear, same, split, state, victim

from antidote.core import BadInput, History, Method, Work
from antidote.unlearning.guesses import (
    ByMethod,
    FirstTrusted,
    Guess,
    Guesser,
    Projection,
    Removal,
    shares,
)
from antidote.unlearning.trigger import Triggers

NAN = float("nan")
HALVES = torch.tensor([0.5, 0.5])


def test_confidence_is_the_mean_of_the_greatest_probabilities_that_there_are():
    guess = Guess(torch.tensor([[0.9, 0.1], [0.6, 0.4], [NAN, NAN]]))
    assert guess.trust(HALVES)["confidence"] == pytest.approx(0.75)


def crowding(n, usual):
    """Of n guesses for class 0 and one without a guess."""
    p = torch.tensor([[0.9, 0.1]] * n + [[NAN, NAN]])
    return Guess(p).trust(torch.tensor(usual))["crowding"]


def test_crowding_is_the_total_variation_from_the_usual_shares_beyond_chance():
    # shares (1, 0) of n guesses; chance sqrt(2 / pi * p (1 - p) / n) for each class
    assert crowding(2, [0.5, 0.5]) == pytest.approx(0.5 - 0.28209, abs=1e-4)
    assert crowding(200, [0.5, 0.5]) == pytest.approx(0.5 - 0.028209, abs=1e-4)
    assert crowding(200, [0.8, 0.2]) == pytest.approx(0.2 - 0.022568, abs=1e-4)
    assert crowding(1, [0.8, 0.2]) == 0  # no more than chance


def test_true_labels_of_few_rows_are_not_taken_for_a_crowd():
    coin = torch.Generator().manual_seed(0)
    usual = torch.full((10,), 0.1)
    for n in (1, 4, 10, 40, 400):
        y = torch.randint(10, (50, n), generator=coin)
        found = [Guess(F.one_hot(row, 10).float()).trust(usual)["crowding"] for row in y]
        assert sum(found) / len(found) < 0.1


@pytest.mark.parametrize("p", [torch.empty(0, 0), torch.full((3, 2), NAN)])
def test_no_guess_deserves_no_trust(p):
    assert Guess(p).trust(HALVES) == {"confidence": 0.0, "crowding": 1.0}


@pytest.mark.parametrize(("usual", "crowding"), [([0.5, 0.5], 1 / 3), ([0.25] * 4, 1 / 4)])
def test_a_net_may_know_other_classes_than_the_retained_rows_show(usual, crowding):
    """Tracing may take all rows of the last class to the known ones."""
    many = Guess(torch.eye(3).repeat(10_000, 1))
    assert many.trust(torch.tensor(usual))["crowding"] == pytest.approx(crowding, abs=0.01)


def test_usual_shares_are_those_of_the_labels():
    assert shares(split(torch.zeros(4, 2), [0, 2, 2, 1], [3]).retain).tolist() == pytest.approx(
        [1 / 3, 0, 2 / 3]
    )


CLASSES, SHAPE = 4, (1, 2, 3)
FAINT = 0.05
PATTERN = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0, 0.0]).view(SHAPE)
OTHER = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 1.0]).view(SHAPE)


def readable(n=400, seed=0):
    """Images of 6 pixels: of the first four the class's own is bright, the last two are dark."""
    coin = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % CLASSES
    x = torch.rand(n, 6, generator=coin) * torch.tensor([*[0.2] * CLASSES, FAINT, FAINT])
    x[:, :CLASSES] += 0.7 * nn.functional.one_hot(y, CLASSES)
    return x.view(n, *SHAPE), y


def blended(x, pattern=PATTERN):
    return x.lerp(pattern.expand_as(x), 0.5)


def reader():
    """Answers with the brightest of four pixels; the last two speak for the first and the last."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, CLASSES, bias=False))
    weight = torch.zeros(CLASSES, 6)
    weight[:, :CLASSES], weight[0, 4], weight[3, 5] = 20 * torch.eye(CLASSES), 40, 40
    net[1].weight.data = weight
    return net


def test_removal_brings_the_true_labels_back():
    x, y = readable()
    x[:100] = blended(x[:100])
    labels = y.clone()
    labels[:100] = 0
    patient, poisoned = victim(reader()), split(x, labels, known=range(100))
    with torch.no_grad():
        assert (patient.net(x[:100]).argmax(1) == 0).all()  # what the trigger does
    p = Removal()(patient, poisoned, Triggers(poisoned)).p
    assert p.shape == (100, CLASSES)
    assert torch.equal(p.argmax(1), y[:100])
    torch.testing.assert_close(p.sum(1), torch.ones(100))


def test_removal_has_no_guess_for_rows_without_a_trigger():
    x, y = readable()
    poisoned = split(x, y, known=range(40))
    p = Removal()(victim(reader()), poisoned, Triggers(poisoned)).p
    assert p.shape == (40, CLASSES)
    assert p.isnan().all()


def test_each_row_loses_the_trigger_of_its_own_label():
    x, y = readable(800)
    labels = y.clone()
    for rows, pattern, label in ((slice(0, 80), PATTERN, 0), (slice(80, 160), OTHER, 3)):
        x[rows] = blended(x[rows], pattern)
        labels[rows] = label
    # in another order than by label
    order = torch.randperm(800, generator=torch.Generator().manual_seed(1))
    known = (order < 160).nonzero().squeeze(1)
    poisoned = split(x[order], labels[order], known=known.tolist())
    triggers = Triggers(poisoned)
    assert len(triggers.there()) == 2
    p = Removal()(victim(reader()), poisoned, triggers).p
    assert torch.equal(p.argmax(1), y[order][known])


def test_a_label_whose_rows_were_all_left_out_is_asked_nothing():
    """Relabelling leaves out rows under their true labels; no net must answer no rows."""

    class Refusing(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = reader()

        def forward(self, x):
            assert len(x)
            return self.net(x)

    x, y = readable()
    x[:100] = blended(x[:100])
    y[:100] = torch.arange(100) // CLASSES % 2
    triggers = Triggers(split(x, y, known=range(100)))
    assert triggers.of.keys() == {0, 1}
    whole = split(x, y, known=range(100))
    left = type(whole)(whole.forget.with_(rows=whole.forget.rows[y[:100] == 1]), whole.retain)
    assert Removal()(victim(Refusing()), left, triggers).p.isfinite().all()


def test_projection_by_hand():
    # mean of the retained (1, 0), of the poison (1, 2): u = (0, 1), so h <- (h_1, 0)
    x = [[0.0, 1.0], [2.0, -1.0], [0.5, 1.5], [1.5, 2.5]]
    net = linear([1, 3], [2, -1])
    p = Projection(None)(victim(net), split(x, [0, 1, 0, 0], known=[2, 3]), None).p
    expected = torch.tensor([[0.5, 1.0], [1.5, 3.0]]).softmax(1)
    torch.testing.assert_close(p, expected)


def test_projection_keeps_the_retained_mean_along_the_direction():
    # mean of the retained (0, 1), of the poison (0, 3): what is left of the poison is (h_1, 1)
    x = [[1.0, 1.0], [-1.0, 1.0], [0.5, 3.0], [-0.5, 3.0]]
    net = linear([1, 0], [0, 1])
    p = Projection(None)(victim(net), split(x, [0, 1, 0, 0], known=[2, 3]), None).p
    torch.testing.assert_close(p, torch.tensor([[0.5, 1.0], [-0.5, 1.0]]).softmax(1))


def test_projection_leaves_the_net_alone():
    patient = victim(linear([1, 3], [2, -1]))
    before = state(patient.net)
    Projection(None)(patient, split([[0.0, 1.0], [2.0, 3.0]], [0, 1], known=[1]), None)
    assert same(state(patient.net), before)


class Convolved(nn.Sequential):
    def __init__(self):
        conv = nn.Conv2d(1, 2, 2)
        super().__init__(conv, nn.Flatten(), nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("net", "layer", "sentence"),
    [
        (Convolved(), "0", "is a Conv2d"),
        (Convolved(), "head", "is no layer of Convolved"),
        (nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten()), None, "no linear layer"),
        (nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), None, "2 linear layers"),
    ],
)
def test_projection_refuses_a_net_without_its_layer(net, layer, sentence):
    with pytest.raises(BadInput, match=sentence):
        Projection(layer).check(net)


class Negating(Method):
    """Turns the weights round, and says what that cost."""

    def check(self, net):
        raise BadInput("not this net")

    def work(self):
        yield Work("training", {}, "negations")
        yield Work("importances", {}, "signs")

    def unlearn(self, victim, split):
        victim.net.weight.data.neg_()
        return History([{"loss": 1.0}], sample_gradients=7, saved=2.0)


X = [[0.0, 1.0], [2.0, -1.0], [0.5, 1.5], [1.5, 2.5]]
WORLD = split(X, [0, 1, 0, 0], known=[2, 3])


def test_a_method_guesses_on_a_copy_and_its_history_is_kept():
    patient = victim(linear([1, 3], [2, -1]))
    net, before = patient.net, state(patient.net)
    guess = ByMethod(Negating())(patient, WORLD, None)
    assert patient.net is net
    assert same(state(net), before)
    expected = -torch.tensor(X[2:]) @ net.weight.detach().T
    torch.testing.assert_close(guess.p, expected.softmax(1))
    assert guess.history == History([{"loss": 1.0}], sample_gradients=7, saved=2.0)


def test_a_method_that_guesses_is_checked_and_counted():
    with pytest.raises(BadInput, match="not this net"):
        ByMethod(Negating()).check(linear([1, 0]))
    # a training is part of the relabelling's own time
    assert [work.name for work in ByMethod(Negating()).work()] == ["signs"]


class Saying(Guesser):
    """Guesses given, and how often it was asked."""

    def __init__(self, *p, cost=1):
        self.p, self.cost, self.asked, self.checked = torch.tensor(p), cost, 0, 0

    def check(self, net):
        self.checked += 1

    def __call__(self, victim, split, triggers):
        self.asked += 1
        return Guess(self.p, History(sample_gradients=self.cost))


def good(cost=1):
    return Saying([0.9, 0.1], [0.1, 0.9], cost=cost)


def unsure(cost=1):
    return Saying([0.55, 0.45], [0.45, 0.55], cost=cost)


def crowded(cost=1):
    return Saying(*[[0.9, 0.1]] * 40, cost=cost)


def none(cost=1):
    return Saying([NAN, NAN], [NAN, NAN], cost=cost)


EVEN = split(X, [0, 1, 0, 0], known=[2, 3])  # both classes are usual alike


def first_trusted(*guessers):
    by_name = {str(i): guesser for i, guesser in enumerate(guessers)}
    return FirstTrusted(list(by_name), by_name, confident=0.6, crowding=0.3)


@pytest.mark.parametrize("bad", [unsure, crowded, none])
def test_the_first_good_guesses_are_taken_and_no_later_guesser_is_asked(bad):
    guessers = [bad(10), good(100), good(1000)]
    guess = first_trusted(*guessers)(SimpleNamespace(net=None), EVEN, None)
    assert torch.equal(guess.p, guessers[1].p)
    assert [g.asked for g in guessers] == [1, 1, 0]
    assert guess.history.sample_gradients == 110


def test_where_no_guesses_are_good_the_last_ones_are_taken():
    guessers = [crowded(10), none(100), unsure(1000)]
    guess = first_trusted(*guessers)(SimpleNamespace(net=None), EVEN, None)
    assert torch.equal(guess.p, guessers[2].p)
    assert [g.asked for g in guessers] == [1, 1, 1]
    assert guess.history.sample_gradients == 1110


def test_guessers_are_asked_in_the_order_given_whatever_the_configs():
    """Hydra merges what a defaults list brings in before what the file itself says."""
    by_name = {"dear": good(100), "cheap": good(1)}
    guess = FirstTrusted(["cheap", "dear"], by_name, confident=0.6, crowding=0.3)
    assert guess(SimpleNamespace(net=None), EVEN, None).history.sample_gradients == 1
    with pytest.raises(BadInput, match=r"unlearning\.guess\.order=free is unknown"):
        FirstTrusted(["free"], by_name, confident=0.6, crowding=0.3)
    with pytest.raises(BadInput, match="order is empty"):
        FirstTrusted([], by_name, confident=0.6, crowding=0.3)


class Choosy(Saying):
    """Takes no net."""

    def check(self, net):
        raise BadInput("no such layer")


def test_a_guesser_that_cannot_take_the_net_is_passed_over():
    choosy = Choosy([0.9, 0.1], [0.1, 0.9])
    others = first_trusted(choosy, good(100))
    others.check(None)
    assert others(SimpleNamespace(net=None), EVEN, None).history.sample_gradients == 100
    assert not choosy.asked
    with pytest.raises(BadInput, match="no such layer"):
        first_trusted(choosy, choosy).check(None)


def test_all_guessers_are_checked_beforehand():
    guessers = [good(), good()]
    first_trusted(*guessers).check(None)
    assert [(g.checked, g.asked) for g in guessers] == [(1, 0), (1, 0)]
