"""GA, NegGrad+ and NGD: a step by hand, and what they are at the ends of their settings."""

import copy

import pytest
import torch
from small_nets import SMALL, classifier, images
from training import close, linear, noisy, same, settings, spied, split, state, victim

from antidote.core import BadInput
from antidote.unlearning.ascent import GradientAscent, NegGradPlus
from antidote.unlearning.finetune import FineTune
from antidote.unlearning.noisy import NoisyDescent

X = [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 5.0]]
Y = [0, 0, 0, 1]


def test_a_step_of_ascent_by_hand():
    # logits 0, so p = 1/2; d CE / d logits = (1/2, -1/2) for label 1; x = (0, 5); lr 0.1, upwards
    patient = victim(linear([0, 0], [0, 0]))
    GradientAscent(**settings()).unlearn(patient, split(X, Y, known=[3]))
    close(patient.net, [[0.0, 0.25], [0.0, -0.25]])


def test_ascent_looks_at_the_known_poison_alone():
    nets = []
    for rest in (1.0, -7.0):
        patient = victim(linear([0.1, 0.2], [0.3, 0.4]))
        x = [[rest, 0.0]] * 3 + [X[3]]
        GradientAscent(**settings(epochs=3)).unlearn(patient, split(x, Y, known=[3]))
        nets.append(patient.net.weight)
    assert torch.equal(*nets)


def test_ascent_counts_passes_over_the_known_poison():
    x, y = noisy()
    how = settings(batch_size=2, epochs=4, fraction=0.5)
    history = GradientAscent(**how).unlearn(
        victim(linear([0, 0], [0, 0])), split(x, y, known=range(6))
    )
    assert history.sample_gradients == 12


def test_a_step_of_neggrad_by_hand():
    # 0.75 of the step that fine-tuning takes, less 0.25 of one on the known poison
    patient = victim(linear([0, 0], [0, 0]))
    NegGradPlus(beta=0.75, **settings()).unlearn(patient, split(X, Y, known=[3]))
    close(patient.net, [[0.75 * 0.05, 0.25 * 0.25], [-0.75 * 0.05, -0.25 * 0.25]])


def test_neggrad_passes_over_the_rest_and_begins_the_known_poison_anew():
    x, y = noisy()
    method, calls = spied(NegGradPlus(beta=0.9, **settings(batch_size=4)))
    history = method.unlearn(victim(linear([0, 0], [0, 0])), split(x, y, known=range(6)))
    sizes = [[len(part) for _, part in batch] for _, batch, *_ in calls]
    assert sizes == [[4, 4], [4, 2]] * 4 + [[2, 4]]
    assert history.sample_gradients == sum(map(sum, sizes))


@pytest.mark.parametrize("steps", [1, 5])
def test_neggrad_at_beta_1_is_fine_tuning(steps):
    """Of the weights; batch norm's statistics see the known poison as well."""
    nets = []
    for method in (FineTune, lambda **how: NegGradPlus(beta=1.0, **how)):
        net = classifier(SMALL["ResNet9"], 3, 16, 16).net.eval()
        x, y = images(12, 3, 16, 16), torch.arange(12) % 4
        patient = victim(net)
        method(**settings(epochs=steps)).unlearn(patient, split(x, y, known=[1, 2]))
        nets.append(dict(patient.net.named_parameters()))
    for name in nets[0]:
        torch.testing.assert_close(nets[0][name], nets[1][name], msg=name)


def test_one_known_sample_is_a_batch_that_batch_norm_can_take():
    net = classifier(SMALL["ResNet9"], 3, 16, 16).net.eval()
    x, y = images(12, 3, 16, 16), torch.arange(12) % 4
    patient = victim(net)
    NegGradPlus(beta=0.9, **settings()).unlearn(patient, split(x, y, known=[1]))
    assert all(t.isfinite().all() for t in patient.net.state_dict().values())


def test_ngd_without_noise_is_gd_bit_for_bit():
    x, y = noisy()
    nets = []
    for method in (FineTune, lambda **how: NoisyDescent(sigma=0.0, **how)):
        patient = victim(linear([0.1, 0.2], [0.3, 0.4]))
        method(**settings(epochs=3)).unlearn(patient, split(x, y, known=[3]))
        nets.append(state(patient.net))
    assert same(*nets)


def test_the_noise_has_its_deviation_and_a_seed():
    """One step of plain SGD at rate 1: the weights differ from GD's by the noise alone."""
    left = []
    for sigma, seed in ((0.0, 0), (0.3, 0), (0.3, 0), (0.3, 1)):
        torch.manual_seed(0)
        patient = victim(torch.nn.Linear(2, 5000, bias=False))
        x, y = noisy()
        how = settings(lr=1.0, batch_size=40, seed=seed)
        NoisyDescent(sigma=sigma, **how).unlearn(patient, split(x, y, known=[3]))
        left.append(patient.net.weight.detach())
    noise = left[1] - left[0]
    assert noise.std().item() == pytest.approx(0.3, rel=0.03)
    assert abs(noise.mean().item()) < 0.02
    assert torch.equal(left[1], left[2])
    assert not torch.equal(left[1], left[3])


def test_each_step_has_noise_of_its_own():
    method, net = NoisyDescent(sigma=1.0, **settings()), linear([0.0, 0.0])
    drawn = []
    for step in (0, 1, 0):
        net.weight.grad = torch.zeros(1, 2)
        method.before_step(net, step)
        drawn.append(copy.deepcopy(net.weight.grad))
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])


def test_what_does_not_learn_gets_no_noise():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    net[1].weight.grad = torch.zeros(2, 2)
    NoisyDescent(sigma=1.0, **settings()).before_step(net, 0)
    assert net[0].weight.grad is None
    assert (net[1].weight.grad != 0).all()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: NegGradPlus(beta=1.5, **settings()), r"unlearning.beta=1.5 is not in \[0, 1\]"),
        (lambda: NoisyDescent(sigma=-1, **settings()), "unlearning.sigma=-1 must not be negative"),
    ],
)
def test_bad_settings_are_one_sentence(make, sentence):
    with pytest.raises(BadInput, match=sentence):
        make()
