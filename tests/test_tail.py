"""EU-k and CF-k: the front stays bit by bit, the tail learns or is drawn anew."""

import copy

import pytest
import torch
from training import settings, split, state, victim

from antidote.core import BadInput, Diverged
from antidote.model.resnet9 import ResNet9
from antidote.unlearning.tail import FineTuneTail, RetrainTail, cut

ALLOWED = [1, 2, 4, 5, 7, 8, 9]


@pytest.fixture
def net():
    torch.manual_seed(0)
    return ResNet9(4, torch.zeros(3), torch.ones(3), width=0.05)


@pytest.fixture
def data():
    """60 random images of 4 classes in turn."""
    x = torch.rand(60, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    return split(x, torch.arange(60) % 4, known=[0, 1, 2])


def tail_names(net, k):
    """State dict names of the last k weight layers."""
    inside = {id(t) for part in cut(net, k) for t in part.state_dict(keep_vars=True).values()}
    return {n for n, t in net.state_dict(keep_vars=True).items() if id(t) in inside}


@pytest.mark.parametrize("k", ALLOWED)
def test_a_tail_has_k_convolutions_and_linear_layers(net, k):
    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    assert sum(isinstance(m, kinds) for part in cut(net, k) for m in part.modules()) == k


@pytest.mark.parametrize("k", [0, 3, 6, 10, -1])
def test_a_net_is_cut_between_its_stages_only(net, k):
    with pytest.raises(BadInput, match=f"k={k} .* choose 1, 2, 4, 5, 7, 8, 9"):
        FineTuneTail(k, **settings()).check(net)


def test_a_net_that_names_no_stages_is_refused():
    with pytest.raises(BadInput, match=r"Linear has no stages\(\)"):
        cut(torch.nn.Linear(2, 2), 1)


@pytest.mark.parametrize("k", [1, 2, 5, 8])
@pytest.mark.parametrize("method", [FineTuneTail, RetrainTail])
def test_the_front_is_bit_identical_afterwards_statistics_included(net, data, method, k):
    before, patient = state(net), victim(net, fresh=copy.deepcopy(net))
    method(k, **settings(epochs=2, batch_size=16)).unlearn(patient, data)
    after, tail = state(patient.net), tail_names(patient.net, k)
    moved = {n for n in before if not torch.equal(before[n], after[n])}
    assert moved == tail
    assert all(w.requires_grad for w in patient.net.parameters())


def test_the_tail_is_drawn_anew_by_the_factory(net, data):
    torch.manual_seed(1)
    fresh = ResNet9(4, torch.zeros(3), torch.ones(3), width=0.05)
    patient = victim(net, fresh=fresh)
    before = state(net)
    method = RetrainTail(4, **settings(lr=0.0, batch_size=64))
    method.unlearn(patient, data)
    tail = tail_names(net, 4)
    for name, t in state(patient.net).items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(t, fresh.state_dict()[name] if name in tail else before[name]), name


def test_weights_that_a_net_keeps_fixed_stay_so(net, data):
    net.fc.weight.requires_grad_(False)
    patient, before = victim(net), net.fc.weight.clone()
    FineTuneTail(2, **settings(batch_size=16)).unlearn(patient, data)
    assert torch.equal(patient.net.fc.weight, before)
    assert not patient.net.fc.weight.requires_grad
    assert patient.net.conv1[0].weight.requires_grad


def test_only_the_tail_gets_an_optimiser(net, data):
    FineTuneTail(2, **settings()).start(victim(net))
    learned = {n for n, w in net.named_parameters() if w.requires_grad}
    assert learned == {n for n, _ in net.named_parameters() if n.startswith(("conv4", "fc"))}
    training = {n for n, m in net.named_modules() if m.training}
    assert all(n.startswith(("conv4", "fc")) for n in training)
    assert {"conv4", "fc"} <= training


def test_a_fit_that_fails_leaves_every_weight_learning(net, data):
    data.retain.samples.x[-1] = torch.inf
    with pytest.raises(Diverged):
        FineTuneTail(2, **settings()).unlearn(victim(net), data)
    assert all(w.requires_grad for w in net.parameters())


def test_another_tail_can_be_trained_afterwards(net, data):
    patient = victim(net)
    for k in (1, 8):
        before = state(net)
        FineTuneTail(k, **settings(batch_size=16)).unlearn(patient, data)
        moved = {n for n, t in state(net).items() if not torch.equal(before[n], t)}
        assert moved == tail_names(net, k)
