"""The three scalars whose gradients are importances."""

import math

import pytest
import torch

from antidote.unlearning.objective import cross_entropy, norm, squared_norm

LOGITS = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
Y = torch.tensor([1, 0])


def gradient(objective, logits):
    logits = logits.clone().requires_grad_()
    return torch.autograd.grad(objective(logits, Y), logits)[0]


def test_norm_is_the_mean_of_the_euclidean_norms():
    assert norm(LOGITS, Y).item() == pytest.approx((5 + 1) / 2)


def test_squared_norm_is_the_mean_of_the_squared_norms():
    assert squared_norm(LOGITS, Y).item() == pytest.approx((25 + 1) / 2)


def test_cross_entropy_is_the_mean_over_the_batch():
    # logit difference 1 for the label, then 1 against it: ln(1 + e^-1), ln(1 + e^1)
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.e)) / 2
    assert cross_entropy(LOGITS, Y).item() == pytest.approx(expected)


@pytest.mark.parametrize("objective", [norm, squared_norm])
def test_label_free_objectives_ignore_the_labels(objective):
    assert torch.equal(objective(LOGITS, Y), objective(LOGITS, 1 - Y))


def test_the_norms_gradient_at_zero_logits_is_0():
    assert torch.equal(gradient(norm, torch.zeros(2, 3)), torch.zeros(2, 3))


def test_the_squared_norms_gradient_of_a_sample_is_twice_its_norm_times_the_norms_gradient():
    expected = torch.tensor([[2 * 5.0], [2 * 1.0]]) * gradient(norm, LOGITS)
    torch.testing.assert_close(gradient(squared_norm, LOGITS), expected)


def importances(objective, features, weights):
    """|d ell / d W| of a linear net."""
    weights = weights.clone().requires_grad_()
    return torch.autograd.grad(objective(features @ weights, None), weights)[0].abs().flatten()


def spread(features, weights, scale):
    """The same features, scaled so that each sample's logits have the norm `scale`."""
    return features * scale / (features @ weights).norm(dim=1, keepdim=True)


def test_norm_and_squared_norm_rank_weights_alike_where_all_norms_are_equal():
    coin = torch.Generator().manual_seed(0)
    features, weights = torch.randn(8, 5, generator=coin), torch.randn(5, 3, generator=coin)
    features = spread(features, weights, 2.0)
    by_norm, by_square = (importances(f, features, weights) for f in (norm, squared_norm))
    assert torch.equal(by_norm.argsort(), by_square.argsort())


def test_norm_and_squared_norm_rank_weights_differently_where_one_sample_dominates():
    coin = torch.Generator().manual_seed(0)
    features, weights = torch.randn(8, 5, generator=coin), torch.randn(5, 3, generator=coin)
    features = spread(features, weights, torch.tensor([[100.0]] + [[1.0]] * 7))
    by_norm, by_square = (importances(f, features, weights) for f in (norm, squared_norm))
    assert not torch.equal(by_norm.argsort(), by_square.argsort())
