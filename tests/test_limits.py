"""A search that must not cost too much: limits on held-out retained samples."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from antidote.core import BadInput, Samples, Split, Victim, everything
from antidote.unlearning.limits import LEAST, Limits
from antidote.unlearning.ptn import PTN
from antidote.unlearning.weight_editor import Editor


class Counting(nn.Module):
    """Answers k to sample x = k + 0.5 unless k is below `lost`: then it answers the next class."""

    def __init__(self, lost=0.0):
        super().__init__()
        self.lost = nn.Parameter(torch.tensor(float(lost)))

    def forward(self, x):
        k = x[:, 0].long()
        answer = torch.where(x[:, 1] < self.lost, (k + 1) % 4, k)
        return nn.functional.one_hot(answer, 4).float()


class Loses(Editor):
    """Try t makes the net lose all samples whose second column is below t / 10."""

    def measure(self, net, split):
        self.seen = split.retain.rows
        return type("Evidence", (), {"infinite": 0, "sample_gradients": 0, "saved": 0.0})()

    def natural(self, evidence):
        return 1.0

    def edit(self, net, evidence, pressure):
        with torch.no_grad():
            net.lost.fill_(pressure)
        return {"pressure": pressure, "cutoff": 0.0, "dampened": pressure}


class Evenly(PTN):
    """Pressure 0.1, 0.2, 0.3, ... instead of a geometric grid."""

    def pressure(self, natural, t):
        return (t + 1) / 10


def split(n=400):
    """Retained: n samples of each of 4 classes, spread evenly in [0, 1); known: half lost late."""
    u = torch.arange(n) / n
    x = torch.cat([torch.stack([torch.full((n,), float(k)), u], 1) for k in range(4)])
    y = torch.arange(4).repeat_interleave(n)
    known = torch.stack([torch.zeros(10), torch.linspace(0.05, 0.95, 10)], 1)
    return Split(
        everything(Samples(known, torch.zeros(10, dtype=torch.int64))), everything(Samples(x, y))
    )


def searched(strategy="scan", net=None, **limits):
    victim = Victim(net or Counting(), lambda: Counting())
    how = {"pressure_max": None, "strategy": strategy, "augment": False, "seed": 0}
    method = Evenly(Loses(), 0.2, 25, 1.1, 12, **how, **limits)
    return victim.net, method.unlearn(victim, split()), method


def test_without_limits_the_search_goes_where_it_went():
    net, history, method = searched()
    assert history.search["met"]
    assert net.lost.item() == pytest.approx(0.8)  # 2 of 10 known are still believed
    assert "stopped_by" not in history.search
    assert len(method.method.seen) == 1600
    assert "held_out_drop" not in history.steps[0]


@pytest.mark.parametrize("strategy", ["scan", "bisect"])
def test_it_stops_before_the_try_that_costs_too_much(strategy):
    net, history, method = searched(strategy, max_drop=0.25, held_out=0.5)
    assert net.lost.item() == pytest.approx(0.2)
    assert history.search["stopped_by"] == "max_drop"
    assert not history.search["met"]
    assert history.search["tries"] == 2
    assert history.search["known_poison_accuracy"] == pytest.approx(0.8)
    assert len(method.method.seen) == 800  # the editor never saw the held-out half


def test_a_limit_that_is_not_reached_changes_nothing_but_what_is_held_out():
    net, history, _ = searched(max_drop=0.95, max_class_drop=0.95)
    assert net.lost.item() == pytest.approx(0.8)
    assert history.search["met"]
    assert history.search["stopped_by"] is None


def test_where_no_try_may_stay_the_net_is_as_it_was():
    class Odd(Loses):
        def edit(self, net, evidence, pressure):
            return super().edit(net, evidence, 0.9)

    net = Counting(0.05)
    before = copy.deepcopy(net.state_dict())
    victim = Victim(net, Counting)
    how = {"pressure_max": None, "strategy": "scan", "augment": False, "seed": 0}
    history = PTN(Odd(), 0.2, 25, 1.1, 12, **how, max_drop=0.1).unlearn(victim, split())
    assert all(torch.equal(net.state_dict()[k], v) for k, v in before.items())
    assert history.search["tries"] == 0
    assert history.search["stopped_by"] == "max_drop"
    assert not history.search["met"]


def test_one_class_counts_for_itself_if_it_has_samples_enough():
    limits, net = Limits(None, 0.5, 0.5), Counting()
    x = torch.tensor([[0.0, 0.5]] * LEAST + [[1.0, 0.9]] * 60 + [[2.0, 0.1]] * (LEAST - 1))
    held = everything(Samples(x, x[:, 0].long()))
    before = limits.look(net, held)
    net.lost.data.fill_(0.6)  # class 0 and the small class 2 are lost
    cost = limits.cost(net, held, before)
    assert cost["held_out_class_drop"] == 1.0
    assert cost["held_out_drop"] == pytest.approx((2 * LEAST - 1) / (2 * LEAST + 59))
    net.lost.data.fill_(0.2)  # only class 2, of which too few are held out
    assert limits.cost(net, held, before)["held_out_class_drop"] == 0.0
    assert limits.exceeded({"held_out_class_drop": 0.51}) == "max_class_drop"
    assert limits.exceeded({"held_out_class_drop": 0.5, "held_out_drop": 1.0}) is None


@given(share=st.floats(0.01, 0.99), n=st.integers(2, 60))
def test_something_is_always_held_out_and_something_left(share, n):
    x = torch.arange(n).float()[:, None]
    whole = everything(Samples(x, torch.zeros(n, dtype=torch.int64)))
    rest, held = Limits(0.1, None, share).apart(Split(whole, whole), 0)
    assert held.count >= 1
    assert rest.retain.count >= 1
    assert sorted([*held.rows.tolist(), *rest.retain.rows.tolist()]) == list(range(n))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_drop": 1.0}, "unlearning.max_drop=1.0 is not a loss of accuracy"),
        ({"max_class_drop": -0.1}, "unlearning.max_class_drop=-0.1 is not a loss"),
        ({"held_out": 0.0}, "unlearning.held_out=0.0 is not a share"),
    ],
)
def test_bad_limits(change, said):
    with pytest.raises(BadInput, match=said):
        Limits(**({"max_drop": None, "max_class_drop": None, "held_out": 0.1} | change))
