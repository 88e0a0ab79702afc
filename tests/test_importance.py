"""I(D)_j on a linear net f(x) = w.x + b, whose gradient of mean f is (mean x, 1)."""

import pytest
import torch
from torch import nn
from waits import Waits

from antidote.core import Diverged, Samples, Watch, everything
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


def test_a_frozen_part_keeps_its_own_mode():
    net = nn.Sequential(nn.BatchNorm1d(2).eval(), nn.Linear(2, 1)).train()
    net[0].eval()
    measured(1, False, net=net)
    assert [m.training for m in net] == [False, True]


def mean_square(logits, y):
    return logits.square().mean()


def test_importances_are_of_float32_whatever_autocast_is_on():
    net = nn.Linear(2, 3)
    expected = measured(1, False, mean_square, net)
    with torch.autocast("cpu", torch.bfloat16):
        found = measured(1, False, mean_square, net)
        assert net(X).dtype == torch.bfloat16  # the caller's precision is as it was
    assert all(torch.equal(found[name], t) for name, t in expected.items())


def tf32():
    """What torch allows: the older settings, which it may refuse to tell, and the newer ones."""
    backends = torch.backends

    def older(look):
        try:
            return look()
        except RuntimeError:
            return "refused"

    return [
        older(torch.get_float32_matmul_precision),
        older(lambda: backends.cuda.matmul.allow_tf32),
        older(lambda: backends.cudnn.allow_tf32),
        backends.cuda.matmul.fp32_precision,
        backends.mkldnn.matmul.fp32_precision,
        backends.cudnn.conv.fp32_precision,
        backends.cudnn.rnn.fp32_precision,
    ]


CHOICES = {
    "nothing": lambda: None,
    "matmul": lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
    "not cudnn": lambda: setattr(torch.backends.cudnn, "allow_tf32", False),
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "newer": lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
    "all": lambda: setattr(torch.backends, "fp32_precision", "tf32"),
}


@pytest.fixture
def put_back():
    kinds = [getattr(torch.backends, name) for name in ("cuda", "mkldnn")]
    yield
    torch.backends.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    for kind in kinds:
        kind.matmul.fp32_precision = "none"
    torch.backends.cudnn.allow_tf32 = True


@pytest.mark.parametrize("choice", CHOICES)
def test_no_tf32_is_used_and_the_callers_choice_is_put_back(put_back, choice):
    CHOICES[choice]()
    before, seen = tf32(), []

    def look(logits, y):
        seen.append(tf32())
        return logits.mean()

    measured(1, False, look)
    assert seen == [["highest", False, False, "ieee", "ieee", "ieee", "ieee"]] * 2
    assert tf32() == before


def test_measuring_changes_neither_weights_nor_batch_statistics_and_leaves_no_gradient():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).train()
    before = {n: t.clone() for n, t in net.state_dict().items()}
    measured(2, False, net=net)
    assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())
    assert all(w.grad is None for w in net.parameters())


def test_an_objective_that_is_not_finite_is_refused():
    with pytest.raises(Diverged, match="the importance objective is not finite"):
        measured(1, False, objective=lambda logits, y: logits.mean() / 0)


def test_an_importance_that_is_not_finite_is_refused_by_name():
    class Steep(torch.autograd.Function):
        @staticmethod
        def forward(ctx, w):
            return w * 1

        @staticmethod
        def backward(ctx, gradient):
            return gradient * torch.inf

    class Net(nn.Linear):
        def forward(self, x):
            return super().forward(x) + Steep.apply(self.spare)

    net = Net(2, 1)
    net.spare = nn.Parameter(torch.ones(1))
    with pytest.raises(Diverged, match="the importance of spare is not finite"):
        measured(1, False, net=net)


@pytest.mark.parametrize("rows", [10, 60])
def test_a_pass_waits_for_the_objective_seldom_and_for_the_importances_once(monkeypatch, rows):
    net = nn.Sequential(*(nn.Linear(2, 2) for _ in range(9)))
    loader = everything(Samples(torch.rand(rows, 2), torch.zeros(rows).long()), batch_size=1)
    waits = Waits(monkeypatch)
    importance(net, loader, mean_logit, 1, False)
    assert waits.count == rows // Watch.EVERY + 2  # a batch each; then the objective, then the rest
