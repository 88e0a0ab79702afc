"""JiT as its authors have it: loss and gradient by hand, what it sees and what it does not."""

from itertools import cycle

import pytest
import torch
from torch import nn
from training import TRAINER, close, linear, recipe, same, split, state, victim

from antidote.core import BadInput
from antidote.unlearning.jit import JiT, stretch, units

X = [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 5.0]]
Y = [0, 0, 0, 1]


def jit(lr=0.1, batch_size=2, epochs=1, **changes):
    chosen = {"sigma": 0.5, "samples": 5, "hold_out": 0.0, "seed": 0}
    made = {"recipe": recipe(lr, batch_size, epochs=epochs), "make_trainer": TRAINER}
    return JiT(**chosen | made | changes)


@pytest.fixture
def noise(monkeypatch):
    """`noise(a, b)`: what is drawn instead of noise, in turn."""

    def draws(*values):
        turn = cycle(torch.tensor(value) for value in values)
        monkeypatch.setattr(torch, "randn_like", lambda z: next(turn))

    return draws


def test_the_loss_by_hand_is_a_sum_over_images_a_mean_over_noises_and_clamped(noise):
    # batch (1, 0), (0, 2), so clamped to 0..2; steps are moved by diag(3, 4)
    # first noise x sigma (1, 3), (0, -1): to (2, 2), (0, 1); steps (1, 2), (0, -1)
    # second (-5, 0), (1, 0): to (0, 0), (1, 2); steps (-1, 0), (1, 0)
    noise([[2.0, 6.0], [0.0, -2.0]], [[-10.0, 0.0], [2.0, 0.0]])
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    loss = jit(sigma=0.5, samples=2).loss(linear([3, 0], [0, 4]), (x, None))
    first, second = (73 / 5) ** 0.5 + 4, 3 + 3
    assert loss.item() == pytest.approx((first + second) / 2)


def test_the_gradient_goes_through_the_answer_to_the_image_only(noise):
    # z = (1, 0), z' = (1, 1), step d = (0, -1), u = W d / |W d| = (0, -1);
    # d loss / d W = u z^T / |d| = ((0, 0), (-1, 0)); through both sides it were u d^T / |d|
    noise([[0.0, 1.0]])
    patient = victim(linear([1, 0], [0, 1]))
    jit(lr=0.1, sigma=1.0, samples=3).unlearn(patient, split(X, Y, known=[0]))
    close(patient.net, [[1.0, 0.0], [0.1, 1.0]])


def test_an_image_that_the_clamp_puts_back_adds_nothing():
    # batch norm lets its answer move all the same: divided by no distance it were infinite
    here, z = torch.ones(2, 2, requires_grad=True), torch.zeros(2, 2)
    loss = stretch(here, torch.zeros(2, 2), z, torch.tensor([[0.0, 0.0], [0.0, 2.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(2**0.5 / 2)
    assert here.grad.isfinite().all()


def test_the_loss_is_in_float32_whatever_the_precision_of_the_fit():
    net, x, found = linear([3, 1], [0, 4]), torch.rand(8, 2), []
    for on in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=on):
            found.append(jit(sigma=0.01).loss(net, (x, None)))
    assert torch.equal(*found)


class Normalised(nn.Module):
    """A net behind its own normalisation, per channel."""

    def __init__(self, net, mean, std):
        super().__init__()
        self.normalize, self.net = nn.Module(), net
        self.normalize.register_buffer("mean", torch.tensor(mean))
        self.normalize.register_buffer("std", torch.tensor(std))

    def forward(self, x):
        return self.net((x - self.normalize.mean) / self.normalize.std)


def test_noise_clamp_and_distance_are_in_normalised_units(noise):
    noise([[1.0, -2.0], [0.5, 3.0]], [[0.3, 0.1], [-4.0, 1.0]])
    x, net = torch.tensor([[0.2, 0.9], [0.7, 0.4]]), linear([3, 1], [0, 4])
    inside = Normalised(net, [0.5, 0.4], [0.25, 0.1])
    z = (x - inside.normalize.mean) / inside.normalize.std
    within, outside = (jit(samples=2).loss(*of) for of in ((inside, (x, None)), (net, (z, None))))
    torch.testing.assert_close(within, outside)


def test_a_net_that_does_not_normalise_is_taken_as_it_is():
    assert units(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))) == (0, 1)


def test_images_come_in_stored_order_and_without_augmentation():
    forget = split(
        torch.arange(10.0).view(5, 2),
        [0] * 5,
        known=[0, 2, 3, 4],
        augment=lambda x, coin: -x,
        view=lambda x, rows: x + 100,
    )
    seen = [x for x, _ in jit(batch_size=3).passes(forget)]
    expected = torch.arange(10.0).view(5, 2)[[0, 2, 3, 4]] + 100  # the trigger stays
    assert len(seen) == 1  # a batch of 3, and the last of one joined to it
    assert torch.equal(torch.cat(seen), expected)


class Untouchable:
    """Data that must not be read."""

    def __getattr__(self, name):
        raise AssertionError(f"the retained data's {name} was read")


def test_jit_never_sees_retained_data():
    known = split(X, Y, known=[0, 3])
    object.__setattr__(known, "retain", Untouchable())
    patient = victim(linear([1, 0], [0, 1]))
    before = state(patient.net)
    jit().unlearn(patient, known)
    assert not same(state(patient.net), before)


def test_jit_looks_at_no_label_and_counts_what_has_a_gradient():
    nets, histories = [], []
    for labels in (Y, [1, 1, 0, 0]):
        patient = victim(linear([1, 0], [0, 1]))
        torch.manual_seed(0)
        histories.append(jit(epochs=3).unlearn(patient, split(X, labels, known=[0, 3])))
        nets.append(patient.net.weight)
    assert torch.equal(*nets)
    assert histories[0].sample_gradients == 3 * 2  # passes, rows; the copies have none


def test_the_net_is_in_training_mode():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)).eval()
    jit(samples=5).unlearn(victim(net), split(X, Y, known=[0, 3]))
    assert net[1].num_batches_tracked == 1 + 5


@pytest.mark.parametrize("setting", ["sigma", "samples"])
def test_noise_that_is_none_is_refused(setting):
    with pytest.raises(BadInput, match=setting):
        jit(**{setting: 0})
