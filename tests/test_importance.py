"""I(D)_j on a linear net f(x) = w.x + b, whose gradient of mean f is (mean x, 1)."""

import pytest
import torch
from torch import nn

from antidote.checks import Diverged
from antidote.core import Samples, everything
from antidote.unlearning.evidence import importance

# batches of two: {(1, -2), (3, 4)} has mean (2, 1); the partial {(-1, 5)} has mean (-1, 5)
X = torch.tensor([[1.0, -2.0], [3.0, 4.0], [-1.0, 5.0]])


def mean_logit(logits, y):
    return logits.mean()


def measured(power, by_sample, objective=mean_logit, net=None):
    loader = everything(Samples(X, torch.zeros(3, dtype=torch.int64)), batch_size=2)
    return importance(net or nn.Linear(2, 1), loader, objective, power, by_sample)


@pytest.mark.parametrize(
    ("power", "expected"),
    [
        (1, [1.5, 3.0]),  # (|2| + |-1|) / 2, (|1| + |5|) / 2
        (2, [2.5, 13.0]),  # (4 + 1) / 2, (1 + 25) / 2; squares per sample would give 11/3 and 15
    ],
)
def test_batches_count_alike_and_the_power_is_of_the_gradient_of_the_batch_mean(power, expected):
    assert measured(power, by_sample=False)["weight"].flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("power", "expected"),
    [
        (1, [5 / 3, 7 / 3]),  # (2*2 + 1*1) / 3, (2*1 + 1*5) / 3
        (2, [3.0, 9.0]),  # (2*4 + 1*1) / 3, (2*1 + 1*25) / 3
    ],
)
def test_by_sample_weights_a_batch_by_its_size(power, expected):
    assert measured(power, by_sample=True)["weight"].flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("by_sample", [True, False])
def test_the_weights_of_all_batches_sum_to_one(by_sample):
    assert measured(1, by_sample)["bias"].item() == pytest.approx(
        1.0
    )  # d mean f / d b = 1 in each batch


def test_the_objective_is_given_the_stored_labels():
    loader = everything(Samples(X, torch.tensor([0, 1, 3])), batch_size=2)
    weights = importance(
        nn.Linear(2, 1), loader, lambda logits, y: (logits[:, 0] * y).mean(), 1, False
    )
    # batch means of x*y: (0*(1,-2) + 1*(3,4)) / 2 = (1.5, 2); 3*(-1,5) = (-3, 15)
    assert weights["weight"].flatten().tolist() == pytest.approx([2.25, 8.5])


def test_frozen_weights_have_importance_zero():
    net = nn.Linear(2, 1)
    net.weight.requires_grad_(False)
    found = measured(1, False, net=net)
    assert found["weight"].tolist() == [[0.0, 0.0]]
    assert found["bias"].item() == 1.0


def test_weights_that_the_output_does_not_use_have_importance_zero():
    net = nn.Linear(2, 1)
    net.spare = nn.Parameter(torch.ones(4))
    assert measured(1, False, net=net)["spare"].tolist() == [0.0] * 4


class Witness(nn.Linear):
    """Notes the mode of each forward."""

    def forward(self, x):
        self.modes = [*getattr(self, "modes", []), self.training]
        return super().forward(x)


def test_gradients_are_taken_in_evaluation_mode():
    net = Witness(2, 1).train()
    measured(1, False, net=net)
    assert net.modes == [False, False]


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_put_back(training):
    net = Witness(2, 1).train(training)
    measured(1, False, net=net)
    assert net.training is training


def test_measuring_changes_neither_weights_nor_batch_statistics_and_leaves_no_gradient():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).train()
    before = {n: t.clone() for n, t in net.state_dict().items()}
    measured(2, False, net=net)
    assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())
    assert all(w.grad is None for w in net.parameters())


def test_an_objective_that_is_not_finite_is_refused():
    with pytest.raises(Diverged, match="the importance objective is not finite"):
        measured(1, False, objective=lambda logits, y: logits.mean() / 0)
