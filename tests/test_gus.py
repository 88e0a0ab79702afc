"""The Gaussian Unlearning Score: known answers, its law without poison, membership beside it."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, norm
from small_nets import SMALL, classifier, images
from torch import nn

from antidote.core import Samples, everything
from antidote.metrics.gus import (
    THRESHOLD,
    GaussianScore,
    alignments,
    auroc,
    input_gradients,
    residuals,
)
from antidote.metrics.membership import Membership

ONE = torch.ones(1)


class Linear(nn.Module):
    """f(x) = W x of flattened images."""

    def __init__(self, W):
        super().__init__()
        self.W = nn.Parameter(W)

    def forward(self, x):
        return x.flatten(1) @ self.W.T


def draws(n, *shape, seed=0):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


def loader(n=40, shape=(1, 4, 4), classes=3, batch_size=16):
    y = torch.arange(n) % classes
    return everything(Samples(images(n, *shape), y), batch_size=batch_size)


def test_the_score_of_a_linear_softmax_model_in_closed_form():
    """g = W^T (softmax(W x) - onehot(y)), so I = <g, u> / ||g|| by hand."""
    W, rows, u = draws(3, 16, seed=1), loader(), draws(40, 1, 4, 4, seed=2)
    x, y = rows.samples.x.flatten(1).double(), rows.samples.y
    g = ((x @ W.T.double()).softmax(1) - F.one_hot(y, 3)) @ W.double()
    aligned = (g * u.flatten(1)).sum(1) / g.norm(dim=1)
    found = GaussianScore(u, u, ONE)(Linear(W), rows)
    assert found["score"] == pytest.approx(-aligned.mean().item(), abs=1e-5)
    assert found["mean"] == pytest.approx(aligned.mean().item(), abs=1e-5)
    assert found["z"] == pytest.approx(-math.sqrt(40) * aligned.mean().item(), abs=1e-4)
    assert found["p"] == pytest.approx(2 * norm.sf(abs(found["z"])), abs=1e-6)
    assert found["n"] == 40
    assert found["dropped"] == 0


def test_two_rows_by_hand():
    # g = (3, 4) and u = (1, 2): 11 / 5; g = (0, 1) and u = (5, -1): -1
    g, u = torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.tensor([[1.0, 2.0], [5.0, -1.0]])
    assert alignments(g, u).tolist() == pytest.approx([2.2, -1.0])


def test_rows_without_a_gradient_are_dropped_and_no_epsilon_takes_their_place():
    g, u = torch.tensor([[0.0, 0.0], [1e-30, 0.0]]), torch.ones(2, 2)
    assert alignments(g, u).tolist() == pytest.approx([1.0])
    found = GaussianScore(draws(4, 1, 2, 2), draws(4, 1, 2, 2), ONE)(
        Linear(torch.zeros(3, 4)), loader(4, (1, 2, 2))
    )
    assert found["dropped"] == 4
    assert math.isnan(found["score"])


def test_the_noises_units_are_the_datas_deviations():
    """By x in units of (0.1, 0.5) per channel: the chain rule weighs the channels alike."""
    W, unit = draws(3, 2 * 4, seed=1), torch.tensor([0.1, 0.5])
    rows, u = loader(12, (2, 2, 2)), draws(12, 2, 2, 2, seed=2)
    scaled = W.view(3, 2, 4) * unit.view(1, 2, 1)  # the same net, of inputs in units
    whole = everything(Samples(rows.samples.x / unit.view(-1, 1, 1), rows.samples.y))
    same = GaussianScore(u, u, torch.ones(2))(Linear(scaled.flatten(1)), whole)
    assert GaussianScore(u, u, unit)(Linear(W), rows)["score"] == pytest.approx(same["score"])


@pytest.mark.parametrize("kind", SMALL)
def test_a_batch_gives_the_gradients_that_a_loop_gives(kind):
    shape = (3, 24, 24) if "Efficient" in kind else (3, 16, 16)
    net = classifier(SMALL[kind], *shape).net.eval()
    whole = loader(6, shape, 4, batch_size=6)
    torch.testing.assert_close(
        F.normalize(input_gradients(net, whole).flatten(1), dim=1),
        F.normalize(input_gradients(net, whole.with_(batch_size=1)).flatten(1), dim=1),
        rtol=1e-3,
        atol=1e-5,
    )


def test_the_gradient_is_that_of_the_loss_but_for_each_rows_scale():
    net = classifier(SMALL["ResNet9"], 3, 16, 16).net.eval()
    rows = loader(6, (3, 16, 16), 4)
    x = rows.samples.x.clone().requires_grad_()
    (g,) = torch.autograd.grad(F.cross_entropy(net(x), rows.samples.y, reduction="sum"), x)
    torch.testing.assert_close(
        F.normalize(input_gradients(net, rows).flatten(1), dim=1),
        F.normalize(g.flatten(1), dim=1),
        rtol=1e-3,
        atol=1e-5,
    )


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=5), st.integers(0, 4))
def test_residuals_are_softmax_less_onehot(f, label):
    y = torch.tensor([label % len(f)])
    whole = torch.tensor([f], dtype=torch.float64)
    wanted = whole.softmax(1) - F.one_hot(y, len(f))
    if wanted.norm() > 1e-6:  # below, the plain formula has lost its digits
        torch.testing.assert_close(residuals(whole, y), F.normalize(wanted, dim=1))


def test_a_sure_answer_still_has_a_gradient():
    """Its probability rounds to 1, so softmax - onehot would be 0."""
    f, y = torch.tensor([[200.0, 0.0, 1.0]]), torch.tensor([0])
    assert (f.softmax(1) - F.one_hot(y, 3))[0, 0] == 0
    r = residuals(f, y)[0]
    e = math.e
    wanted = torch.tensor([-(1 + e), 1.0, e]).double()
    torch.testing.assert_close(r, wanted / wanted.norm())


def test_the_mode_and_the_weights_gradients_are_left_as_they_were():
    net = classifier(SMALL["ResNet9"], 3, 16, 16).net.train()
    input_gradients(net, loader(6, (3, 16, 16), 4))
    assert net.training
    assert all(w.grad is None for w in net.parameters())


def test_it_is_measured_in_float32_also_where_all_else_is_bf16_and_gradients_are_off():
    net = classifier(SMALL["ResNet9"], 3, 16, 16).net.eval()
    rows, u = loader(6, (3, 16, 16), 4), draws(6, 3, 16, 16)
    plain = GaussianScore(u, u, torch.ones(3))(net, rows)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert GaussianScore(u, u, torch.ones(3))(net, rows) == plain


def test_fresh_noise_scores_as_the_standard_normal_law():
    net = classifier(SMALL["ResNet9"], 3, 16, 16).net.eval()
    rows = loader(600, (3, 16, 16), 4, batch_size=100)
    g = input_gradients(net, rows)
    aligned = torch.cat([alignments(g, draws(600, 3, 16, 16, seed=s)) for s in range(5)])
    assert kstest(aligned.numpy(), "norm").pvalue > 0.01


def test_at_the_noisy_image_even_fresh_noise_would_look_like_poison():
    """The law holds at x alone: at x + xi curvature shows (a convex loss: <H xi, xi> > 0)."""
    W, u = draws(3, 64, seed=1), draws(400, 1, 8, 8, seed=2)
    rows = loader(400, (1, 8, 8))
    at_base = GaussianScore(u, u, ONE)(Linear(W), rows)
    moved = everything(Samples(rows.samples.x + u, rows.samples.y))
    elsewhere = GaussianScore(u, u, ONE)(Linear(W), moved)
    assert abs(at_base["z"]) < 3
    assert elsewhere["z"] < -5


def test_noise_that_lowers_the_loss_scores_above_0():
    """Where training has fitted x + xi the loss falls along xi: <g, xi> < 0 and T > 0."""
    rows, u = loader(8, (1, 4, 4)), draws(8, 1, 4, 4)
    against = -input_gradients(Linear(W := draws(3, 16, seed=3)), rows)
    found = GaussianScore(against, u, ONE)(Linear(W), rows)
    assert found["score"] > 0
    assert found["mean"] < 0


def test_the_share_above_the_threshold_is_the_laws():
    assert norm.sf(THRESHOLD) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("positive", "negative", "chance"),
    [([1.0, 2.0], [0.0, 0.5], 1.0), ([0.0], [1.0], 0.0), ([1.0, 3.0], [1.0, 2.0], 0.625)],
)
def test_auroc_by_hand(positive, negative, chance):
    assert auroc(torch.tensor(positive), torch.tensor(negative)) == chance


def test_membership_by_hand():
    """Losses are log(1 + exp(-x)) of one pixel: members are surer than all of the others."""
    net = Linear(torch.tensor([[1.0], [0.0]]))

    def rows(*pixels):
        y = torch.zeros(len(pixels), dtype=torch.int64)
        return everything(Samples(torch.tensor(pixels).view(-1, 1, 1, 1), y))

    found = Membership(rows(0.0, 0.1, 0.2))(net, rows(0.9, 0.8, 0.1))
    assert found["tpr"] == pytest.approx(2 / 3)
    assert found["auroc"] == pytest.approx((3 + 3 + 1.5) / 9)


def test_sure_answers_do_not_tie():
    """In float32 both losses are 0, and nobody would be told from anybody."""
    net = Linear(torch.tensor([[100.0], [0.0]]))

    def rows(*pixels):
        y = torch.zeros(len(pixels), dtype=torch.int64)
        return everything(Samples(torch.tensor(pixels).view(-1, 1, 1, 1), y))

    found = Membership(rows(*torch.linspace(0.5, 0.9, 100).tolist()))(net, rows(0.95, 1.0))
    assert found["tpr"] == 1
    assert found["auroc"] == 1


def test_membership_of_the_same_rows_is_chance():
    alike = Membership(loader(2000))(Linear(draws(3, 16, seed=1)), loader(2000))
    assert alike["auroc"] == 0.5
    assert alike["tpr"] <= 0.01
