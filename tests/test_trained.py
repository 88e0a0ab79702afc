"""Retraining, fine-tuning, repairs, BadT and chains: steps by hand, and what must not happen."""

import pytest
import torch
from training import (
    TRAINER,
    Remembering,
    close,
    linear,
    recipe,
    same,
    settings,
    spied,
    split,
    state,
    victim,
)

from antidote.core import BadInput, History, Method, Work
from antidote.unlearning.badt import BadTeacher, target
from antidote.unlearning.chain import Chain
from antidote.unlearning.finetune import FineTune, Repair
from antidote.unlearning.none import Nothing
from antidote.unlearning.retrain import Retrain

X = [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 5.0]]
Y = [0, 0, 0, 1]


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


@pytest.mark.parametrize(("fraction", "steps", "seen"), [(1, 8, 16), (0.25, 2, 4), (0.01, 1, 2)])
def test_the_fraction_counts_steps_of_the_victims_recipe(fraction, steps, seen):
    # 4 retained rows in batches of 2 are 2 steps a pass, 4 passes
    x, y, trainer = [*X, [0.0, 1.0]], [*Y, 1], Remembering()
    method = FineTune(**settings(batch_size=2, fraction=fraction, epochs=4, make_trainer=trainer))
    history = method.unlearn(victim(linear([0, 0], [0, 0])), split(x, y, known=[3]))
    assert history.sample_gradients == seen
    assert trainer.steps == steps


def test_the_target_of_badt_is_the_bad_teachers_answer_on_known_poison_only():
    good, bad = torch.zeros(2, 2), torch.tensor([[0.0, 3.0]] * 2).log1p()  # (1/5, 4/5)
    found = target(good, bad, torch.tensor([0, 1]))
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.5], [0.2, 0.8]]))


def test_the_target_of_badt_is_worked_out_in_float32():
    coin = torch.Generator().manual_seed(0)
    good, bad = ((4 * torch.randn(8, 10, generator=coin)).bfloat16() for _ in range(2))
    known = torch.arange(8) % 2
    assert torch.equal(target(good, bad, known), target(good.float(), bad.float(), known))


def test_the_loss_of_badt_is_worked_out_in_float32():
    net, good, bad = linear([1, 0], [0, 1]), linear([3, 1], [0, 2]), linear([0, 2], [2, 0])
    batch = torch.randn(8, 2, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2
    method = BadTeacher(**settings())
    with torch.autocast("cpu", torch.bfloat16):
        found = method.loss(net, batch, good, bad)
        rounded = [f(batch[0]).float() for f in (net, good, bad)]
    answers = [lambda x, y=y: y for y in rounded]
    assert found.dtype == torch.float32
    assert torch.equal(found, method.loss(answers[0], batch, *answers[1:]))


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
    method, calls = spied(BadTeacher(**settings(lr=1.0)))
    method.unlearn(patient, split(X, Y, known=[0, 3]))
    _, _, good, bad = calls[-1]
    assert len({net.weight.data_ptr() for net in (good, bad, patient.net)}) == 3
    assert not good.training
    assert not bad.training
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


def repair(passes=1.0, known_passes=0, more_steps=0, broken_off=False, **changes):
    return Repair(passes, known_passes, more_steps, broken_off, **settings(**changes))


AS_THE_REFERENCE = {"known_passes": 1, "more_steps": 24, "broken_off": True}


def rows(retained, known):
    """A split of that many rows, in batches of one: as many batches."""
    n = retained + known
    return split(torch.zeros(n, 2), torch.zeros(n, dtype=torch.int64), known=list(range(known)))


@pytest.mark.parametrize(("retained", "known", "steps"), [(45, 1, 70), (98, 1, 123), (88, 10, 122)])
def test_the_references_repair_takes_the_steps_that_its_loop_takes(retained, known, steps):
    # R + (B + 1) + 23; 70 where R is 45 was counted in its code
    method = repair(batch_size=1, steps=4000, **AS_THE_REFERENCE)
    assert method.length(rows(retained, known)) == steps


def test_a_repair_is_a_pass_over_the_retained_data_whatever_the_victims_recipe():
    for length in ({"steps": 4000}, {"epochs": 7}):
        assert repair(batch_size=4, **length).length(rows(45, 3)) == 11  # 44 / 4, the last of 5


def told(steps, **settings_of_repair):
    """Over how many steps a repair lays out its schedule, if the victim's recipe has `steps`."""
    seen = []
    method = repair(fraction=0.25, steps=steps, **settings_of_repair)
    constant = method.recipe.schedule

    def schedule(optimizer, total_steps):
        seen.append(total_steps)
        return constant(optimizer, total_steps)

    object.__setattr__(method.recipe, "schedule", schedule)
    method.unlearn(victim(linear([0, 0], [0, 0])), rows(4, 1))
    return seen


def test_the_references_repair_breaks_off_the_schedule_of_a_whole_fine_tuning():
    assert told(4000, **AS_THE_REFERENCE) == [1000]


def test_a_repair_is_never_longer_than_its_schedule():
    assert told(8, **AS_THE_REFERENCE) == [26]  # 1 + 1 + 24; a fine-tuning has 2 steps


def test_a_repair_of_its_own_length_goes_through_its_schedule():
    assert told(4000) == [1]


@pytest.mark.parametrize(
    "setting", [{"passes": 0}, {"known_passes": -1}, {"more_steps": -1}], ids=str
)
def test_a_repair_of_no_length_is_refused(setting):
    with pytest.raises(BadInput, match=next(iter(setting))):
        repair(**setting)


class Adds(Method):
    """Adds a number to all weights."""

    def __init__(self, number, needs_known=True):
        self.number, self.needs_known = number, needs_known

    def check(self, net):
        if net is self.number:
            raise BadInput("not that net")

    def work(self):
        yield Work("training", {"number": self.number}, "additions")

    def unlearn(self, patient, split):
        patient.net.weight.data.mul_(2).add_(self.number)
        return History([{"added": self.number}], sample_gradients=self.number, saved=0.5)


def test_a_chain_goes_on_where_the_first_method_stopped():
    patient = victim(linear([1, 1], [1, 1]))
    history = Chain(Adds(1), Adds(10)).unlearn(patient, split(X, Y, known=[3]))
    close(patient.net, [[16.0, 16.0], [16.0, 16.0]])  # (1 * 2 + 1) * 2 + 10
    assert history == History([{"added": 1}, {"added": 10}], sample_gradients=11, saved=1.0)


def test_a_chains_work_is_that_of_its_parts():
    assert [work.what for work in Chain(Adds(1), Adds(10)).work()] == [
        {"number": 1},
        {"number": 10},
    ]


@pytest.mark.parametrize("refusing", [0, 1])
def test_a_chain_refuses_what_one_of_its_parts_refuses(refusing):
    net = linear([1, 1])
    parts = [Adds(1), Adds(1)]
    Chain(*parts).check(net)
    parts[refusing].number = net
    with pytest.raises(BadInput, match="not that net"):
        Chain(*parts).check(net)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("then", [True, False])
def test_a_chain_needs_known_poison_if_one_of_its_parts_does(first, then):
    assert Chain(Adds(1, first), Adds(1, then)).needs_known == (first or then)


def test_doing_nothing_changes_nothing_and_costs_nothing():
    patient = victim(linear([1, 2], [3, 4]))
    assert Nothing().unlearn(patient, split(X, Y, known=[3])) == History()
    close(patient.net, [[1.0, 2.0], [3.0, 4.0]])
    assert not Nothing().needs_known
