"""Our CELU against torch's."""

import pytest
import torch
import torch.nn.functional as F

from antidote.model.celu import CELU

ALPHA = 0.075
X = torch.cat(
    [
        torch.linspace(-3, 3, 4001),
        torch.logspace(-12, 0, 200),
        -torch.logspace(-12, 0, 200),
        torch.zeros(1),
    ]
)


def gradient(f, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(f(x).sum(), x)[0]


def test_values_are_torchs():
    torch.testing.assert_close(CELU(ALPHA)(X), F.celu(X, ALPHA), rtol=0, atol=1e-6)


def test_gradients_are_torchs():
    x = X[X != 0]
    torch.testing.assert_close(
        gradient(CELU(ALPHA), x), gradient(lambda t: F.celu(t, ALPHA), x), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("alpha", [0.075, 1.0])
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_derivatives_are_those_of_finite_differences(check, alpha):
    x = torch.tensor(
        [-2.0, -0.3, -0.05, -0.01, 0.02, 0.4, 2.0], dtype=torch.float64, requires_grad=True
    )
    assert check(CELU(alpha), x)


def test_far_below_zero_is_minus_alpha_and_flat():
    far = torch.tensor([-1e4, -float("inf")])
    assert CELU(ALPHA)(far).tolist() == pytest.approx([-ALPHA, -ALPHA])
    assert gradient(CELU(ALPHA), far[:1]).tolist() == pytest.approx([0.0], abs=1e-6)


def test_a_nan_is_not_hidden():
    assert CELU(ALPHA)(torch.tensor([float("nan")])).isnan().all()


def test_the_input_is_not_modified():
    x = X.clone()
    CELU(ALPHA)(x)
    assert torch.equal(x, X)
