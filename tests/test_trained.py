"""Retraining, fine-tuning, BadT, JiT and chains: steps by hand, and what must not happen."""

import copy

import pytest
import torch
from torch import nn
from training import TRAINER, linear, recipe, same, settings, split, state, victim

from antidote.answers import accuracy
from antidote.checks import BadInput
from antidote.core import Report
from antidote.unlearning.badt import BadTeacher, target
from antidote.unlearning.chain import Chain
from antidote.unlearning.finetune import FineTune
from antidote.unlearning.jit import JiT, lipschitz
from antidote.unlearning.retrain import Retrain

X = [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 5.0]]
Y = [0, 0, 0, 1]


def close(net, rows):
    torch.testing.assert_close(net.weight.data, torch.tensor(rows), rtol=0, atol=1e-6)


def test_a_step_of_fine_tuning_by_hand():
    # logits 0, so p = 1/2; d CE / d logits = (-1/2, 1/2); x = (1, 0); lr 0.1
    patient = victim(linear([0, 0], [0, 0]))
    FineTune(**settings()).unlearn(patient, split(X, Y, known=[3]))
    close(patient.net, [[0.05, 0.0], [-0.05, 0.0]])


def test_fine_tuning_never_sees_the_known_poison():
    nets = []
    for poison in (5.0, -7.0):
        patient = victim(linear([0.1, 0.2], [0.3, 0.4]))
        x = [*X[:3], [0.0, poison]]
        FineTune(**settings(epochs=3)).unlearn(patient, split(x, Y, known=[3]))
        nets.append(patient.net.weight)
    assert torch.equal(*nets)


def test_retraining_starts_from_the_factorys_net_and_not_from_the_victim():
    patient = victim(linear([9, 9], [9, 9]), fresh=linear([0, 0], [0, 0]))
    Retrain(recipe(), TRAINER, 0.0, 0).unlearn(patient, split(X, Y, known=[3]))
    close(patient.net, [[0.05, 0.0], [-0.05, 0.0]])


@pytest.mark.parametrize(("fraction", "steps", "seen"), [(1, 8, 12), (0.25, 2, 3), (0.01, 1, 2)])
def test_the_fraction_counts_steps_of_the_victims_recipe(fraction, steps, seen):
    # 3 retained rows in batches of 2 are 2 steps a pass, 4 passes
    method = FineTune(**settings(batch_size=2, fraction=fraction, epochs=4))
    report = method.unlearn(victim(linear([0, 0], [0, 0])), split(X, Y, known=[3]))
    assert report.sample_gradients == seen
    assert method.global_step == steps


def test_the_target_of_badt_is_the_bad_teachers_answer_on_known_poison_only():
    good, bad = torch.zeros(2, 2), torch.tensor([[0.0, 3.0]] * 2).log1p()  # (1/5, 4/5)
    found = target(good, bad, torch.tensor([0, 1]))
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.5], [0.2, 0.8]]))


def test_a_step_of_badt_by_hand():
    # one known row x = (1, 0): student logits 0, target (1/5, 4/5);
    # d KL / d logits = q - p = (0.3, -0.3), over K = 2 classes, over 4 rows; the other rows' target
    # is the student's own answer; lr 1
    bad = linear([0, 0], [torch.tensor(4.0).log().item(), 0])
    patient = victim(linear([0, 0], [0, 0]), fresh=bad)
    BadTeacher(**settings(lr=1.0)).unlearn(patient, split(X, Y, known=[0]))
    close(patient.net, [[-0.3 / 8, 0.0], [0.3 / 8, 0.0]])


def test_the_teachers_of_badt_share_no_weight_with_the_victim_and_do_not_move():
    patient = victim(linear([1, 0], [0, 1]), fresh=linear([0, 2], [2, 0]))
    before = state(patient.net)
    method = BadTeacher(**settings(lr=1.0))
    method.unlearn(patient, split(X, Y, known=[0, 3]))
    good, bad = method.teachers
    places = {net.weight.data_ptr() for net in (good, bad, patient.net)}
    assert len(places) == 3
    assert same(state(good), before)
    close(bad, [[0.0, 2.0], [2.0, 0.0]])
    assert not same(state(patient.net), before)


def test_badt_looks_at_no_label():
    nets = []
    for labels in (Y, [1, 1, 0, 0]):
        patient = victim(linear([1, 0], [0, 1]), fresh=linear([0, 2], [2, 0]))
        BadTeacher(**settings()).unlearn(patient, split(X, labels, known=[0, 3]))
        nets.append(patient.net.weight)
    assert torch.equal(*nets)


def test_the_lipschitz_loss_of_a_diagonal_net_is_the_mean_of_its_stretches():
    # (1, 0) is stretched by 3, (0, 2) by 4, (3, 4) to (9, 16): sqrt(337) / 5
    xi = torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[3.0, 4.0], [1.0, 0.0]]])
    loss = lipschitz(linear([3, 0], [0, 4]), torch.ones(2, 2), xi)
    assert loss.item() == pytest.approx((3 + 4 + 337**0.5 / 5 + 3) / 4)


class Untouchable:
    """Data that must not be read."""

    def __getattr__(self, name):
        raise AssertionError(f"the retained data's {name} was read")


def jit(**changes):
    return JiT(
        **{
            "sigma": 0.5,
            "samples": 5,
            "recipe": recipe(lr=0.1, batch_size=2, epochs=3),
            "make_trainer": TRAINER,
            "hold_out": 0.0,
            "seed": 0,
        }
        | changes
    )


def test_jit_never_sees_retained_data():
    known = split(X, Y, known=[0, 3])
    object.__setattr__(known, "retain", Untouchable())
    patient = victim(linear([1, 0], [0, 1]))
    jit().unlearn(patient, known)
    # less sensitive than before
    assert torch.linalg.matrix_norm(patient.net.weight) < 2**0.5


def test_jit_looks_at_no_label_and_counts_its_noisy_copies():
    torch.manual_seed(0)
    nets, reports = [], []
    for labels in (Y, [1, 1, 0, 0]):
        patient = victim(linear([1, 0], [0, 1]))
        torch.manual_seed(0)
        reports.append(jit().unlearn(patient, split(X, labels, known=[0, 3])))
        nets.append(patient.net.weight)
    assert torch.equal(*nets)
    assert reports[0].sample_gradients == 3 * 2 * (1 + 5)  # passes, rows, originals and copies


def test_jit_leaves_batch_norm_statistics_as_they_are():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    before = {n: t for n, t in state(net).items() if "running" in n or "num" in n}
    jit().unlearn(victim(net), split(X, Y, known=[0, 3]))
    assert same({n: state(net)[n] for n in before}, before)


class Adds:
    """An unlearner that adds a number to all weights."""

    def __init__(self, number):
        self.number = number

    def unlearn(self, patient, split):
        patient.net.weight.data.mul_(2).add_(self.number)
        return Report([{"added": self.number}], sample_gradients=self.number, saved=0.5)


def test_a_chain_goes_on_where_the_first_method_stopped():
    patient = victim(linear([1, 1], [1, 1]))
    report = Chain(Adds(1), Adds(10)).unlearn(patient, split(X, Y, known=[3]))
    close(patient.net, [[16.0, 16.0], [16.0, 16.0]])  # (1 * 2 + 1) * 2 + 10
    assert (report.steps, report.sample_gradients, report.saved) == (
        [{"added": 1}, {"added": 10}],
        11,
        1.0,
    )


def noisy():
    """40 rows on a line with labels by side, a few of them wrong."""
    coin = torch.Generator().manual_seed(0)
    x = torch.randn(40, 2, generator=coin)
    y = (x[:, 0] > 0).long()
    y[::7] = 1 - y[::7]
    return x, y


def test_a_held_out_part_is_not_trained_on_and_chooses_the_checkpoint():
    x, y = noisy()
    method = FineTune(**settings(lr=3.0, epochs=6, hold_out=0.25))
    patient = victim(linear([1.0, -2.0], [0.5, 0.5]))
    report = method.unlearn(patient, split(x, y, known=[0, 1, 2, 3]))
    assert method.held.count == 9  # of 36 retained
    assert report.sample_gradients == 6 * 27
    seen = [step["held_out_accuracy"] for step in report.steps]
    assert accuracy(patient.net, method.held) == pytest.approx(max(seen))
    assert len(set(seen)) > 1  # so that there was a choice


def test_a_held_out_part_leaves_the_rest_to_training():
    whole = split(*noisy(), known=[0])
    method = FineTune(**settings(hold_out=0.5))
    kept = method.reserve(whole)
    rows = torch.cat([kept.retain.rows, method.held.rows]).sort().values
    assert torch.equal(rows, whole.retain.rows)


def test_without_a_held_out_part_the_last_iterate_stays():
    x, y = noisy()
    a, b = (victim(linear([1.0, -2.0], [0.5, 0.5])) for _ in range(2))
    FineTune(**settings(epochs=2)).unlearn(a, split(x, y, known=[0]))
    FineTune(**settings(epochs=4, fraction=0.5)).unlearn(b, split(x, y, known=[0]))
    assert torch.equal(a.net.weight, b.net.weight)


@pytest.mark.parametrize("hold_out", [-0.1, 1.0])
def test_a_held_out_share_must_leave_something(hold_out):
    with pytest.raises(BadInput, match="hold_out"):
        FineTune(**settings(hold_out=hold_out))


def test_a_method_can_be_copied_with_what_it_holds():
    assert copy.deepcopy(FineTune(**settings())).fraction == 1.0
