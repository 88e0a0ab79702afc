"""The edit of rank one: by hand, and what the net says before and after."""

import pytest
import torch
from torch import nn
from training import split, victim

from antidote.core import BadInput
from antidote.unlearning.project import Project

# retained mean m = (1, 1), poison's (1, 3): u = (0, 1)
X = [[0.0, 1.0], [2.0, 1.0], [0.0, 3.0], [2.0, 3.0]]
WORLD = split(X, [0, 1, 0, 0], known=[2, 3])
M, U = torch.tensor([1.0, 1.0]), torch.tensor([0.0, 1.0])
W = [[1.0, 3.0], [2.0, -1.0]]


def net(bias=None):
    layer = nn.Linear(2, 2, bias=bias is not None)
    layer.weight.data = torch.tensor(W)
    if bias is not None:
        layer.bias.data = torch.tensor(bias)
    return layer


def edited(layer, world=WORLD):
    history = Project(None).unlearn(victim(layer), world)
    return layer, history


def test_with_a_bias_by_hand():
    layer, _ = edited(net(bias=[0.5, -0.5]))
    # W (I - u u') loses its second column; b + W u (u . m) = b + (3, -1)
    torch.testing.assert_close(layer.weight.data, torch.tensor([[1.0, 0.0], [2.0, 0.0]]))
    torch.testing.assert_close(layer.bias.data, torch.tensor([3.5, -1.5]))


def test_without_a_bias_by_hand():
    layer, _ = edited(net())
    # e = (1, 1) / sqrt 2, v = ((0, 1) - (1, 1) / 2) / (1 - 1/2) = (-1, 1); W - (3, -1)' v
    torch.testing.assert_close(layer.weight.data, torch.tensor([[4.0, 0.0], [1.0, 0.0]]))


@pytest.mark.parametrize(
    ("bias", "share"),
    [([0.5, -0.5], (10 / 15) ** 0.5), (None, (20 / 15) ** 0.5)],
    ids=["bias", "no bias"],
)
def test_the_history_says_what_share_of_the_weights_has_moved(bias, share):
    _, history = edited(net(bias))
    assert history.steps == [{"moved": pytest.approx(share)}]
    assert history.sample_gradients == 0


def random(bias, seed):
    """(a layer of 5 inputs, a split with features off the origin, m, u)"""
    coin = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    layer = nn.Linear(5, 3, bias=bias)
    x = torch.randn(30, 5, generator=coin) + torch.randn(5, generator=coin)
    x[:6] += 2 * torch.randn(5, generator=coin)
    m = x[6:].mean(0)
    u = nn.functional.normalize(x[:6].mean(0) - m, dim=0)
    return layer, split(x, torch.zeros(30).long(), known=range(6)), m, u


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_what_the_net_says_of_the_retained_mean_stays_and_holds_all_along_the_poison(bias, seed):
    layer, world, m, u = random(bias, seed)
    with torch.no_grad():
        before = layer(m)
        edited(layer, world)
        for t in (-30.0, -1.0, 0.0, 0.5, 30.0):
            torch.testing.assert_close(layer(m + t * u), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_across_the_poison_a_net_with_a_bias_says_what_it_said(seed):
    layer, world, m, u = random(True, seed)
    across = torch.randn(5, generator=torch.Generator().manual_seed(seed + 100))
    across -= across @ u * u
    with torch.no_grad():
        before = layer(m + across)
        edited(layer, world)
        torch.testing.assert_close(layer(m + across), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
def test_a_second_edit_does_nothing(bias):
    layer, world, _, _ = random(bias, 0)
    edited(layer, world)
    once = layer.weight.detach().clone()
    _, history = edited(layer, world)
    torch.testing.assert_close(layer.weight.data, once, rtol=0, atol=1e-5)
    assert history.steps[0]["moved"] < 1e-5


@pytest.mark.parametrize("bias", [None, [0.0, 0.0]])
def test_poison_that_lies_where_the_rest_does_moves_nothing(bias):
    layer = net(bias)
    _, history = edited(layer, split([*X[:2], *X[:2]], [0, 1, 0, 0], known=[2, 3]))
    assert torch.equal(layer.weight.data, torch.tensor(W))
    assert history.steps == [{"moved": 0.0}]


def test_poison_straight_behind_the_mean_leaves_a_net_without_a_bias_finite():
    """u is parallel to m: there is no edit that keeps what is said of m."""
    world = split([[1.0, 1.0], [1.0, 1.0], [3.0, 3.0]], [0, 1, 0], known=[2])
    layer, _ = edited(net(), world)
    assert layer.weight.isfinite().all()
    torch.testing.assert_close(layer(M), net()(M), rtol=1e-3, atol=1e-3)


def test_no_other_layer_moves():
    torch.manual_seed(0)
    deep = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3))
    first = deep[0].weight.detach().clone()
    last = deep[2].weight.detach().clone()
    edited(deep)
    assert torch.equal(deep[0].weight, first)
    assert not torch.equal(deep[2].weight, last)


def test_a_layer_can_be_named():
    torch.manual_seed(0)
    twins = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    first = twins[0].weight.detach().clone()
    Project("2").unlearn(victim(twins), WORLD)
    assert torch.equal(twins[0].weight, first)


CONVOLVED = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("refused", "layer", "sentence"),
    [
        (CONVOLVED, "0", "unlearning.layer=0 is a Conv2d; it must be the linear layer"),
        (CONVOLVED, "head", "unlearning.layer=head is no layer of Sequential"),
        (CONVOLVED[:2], None, "Sequential has no linear layer that gives its answers"),
        (
            nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)),
            None,
            "2 linear layers that could give its answers: 0, 1; name one with unlearning.layer=",
        ),
    ],
    ids=["a convolution", "no such layer", "no linear layer", "two heads"],
)
def test_a_net_without_such_a_layer_is_refused_in_one_sentence(refused, layer, sentence):
    with pytest.raises(BadInput, match=sentence) as refusal:
        Project(layer).check(refused)
    assert "\n" not in str(refusal.value)
