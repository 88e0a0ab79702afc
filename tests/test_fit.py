"""What all trained methods have of their base: one call's fit, held-out data, single samples."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from training import (
    TRAINER,
    Remembering,
    linear,
    noisy,
    same,
    settings,
    split,
    state,
    victim,
)

from antidote.core import BadInput, Diverged, accuracy
from antidote.core.data import fingerprint
from antidote.unlearning.badt import BadTeacher
from antidote.unlearning.finetune import FineTune, Repair
from antidote.unlearning.jit import JiT
from antidote.unlearning.modes import alone
from antidote.unlearning.retrain import Retrain
from antidote.unlearning.scrub import Scrub, ScrubCorrective
from antidote.unlearning.tail import FineTuneTail, RetrainTail

SCRUB = {"alpha": 0.5, "temperature": 2.0, "msteps": 2}


def retrain(recipe, make_trainer, hold_out, seed, **unused):
    return Retrain(recipe, make_trainer, hold_out, seed)


def jit(recipe, make_trainer, hold_out, seed, **unused):
    return JiT(0.1, 3, recipe=recipe, make_trainer=make_trainer, hold_out=hold_out, seed=seed)


METHODS = {
    "retrain": retrain,
    "finetune": FineTune,
    "repair": partial(Repair, 1, 1, 2, True),
    "retrain_k": partial(RetrainTail, 1),
    "finetune_k": partial(FineTuneTail, 1),
    "scrub": partial(Scrub, 0.9, **SCRUB),
    "scrub_corrective": partial(ScrubCorrective, **SCRUB),
    "badt": BadTeacher,
    "jit": jit,
}


class Cut(nn.Module):
    """Two linear layers with batch norm and dropout between, and a place to cut."""

    def __init__(self, seed):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.front, self.back = nn.Linear(2, 8), nn.Linear(8, 2)
        self.between = nn.Sequential(nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2))

    def stages(self):
        return [(self.front, 1), (self.back, 1)]

    def forward(self, x):
        return self.back(self.between(self.front(x)))


def treated(method, seed):
    """What a method makes of a victim: its state and the history."""
    torch.manual_seed(0)
    patient = victim(Cut(seed), fresh=Cut(9))
    history = method.unlearn(patient, split(*noisy(), known=[0, 1, 2]))
    return state(patient.net), history


@pytest.mark.parametrize("hold_out", [0.0, 0.25])
@pytest.mark.parametrize("name", METHODS)
def test_a_method_used_twice_gives_what_two_fresh_ones_give(name, hold_out):
    make = partial(METHODS[name], **settings(batch_size=8, epochs=3, hold_out=hold_out))
    used = make()
    for seed in (1, 2):
        again, fresh = treated(used, seed), treated(make(), seed)
        assert same(again[0], fresh[0])
        assert again[1] == fresh[1]


@pytest.mark.parametrize("name", METHODS)
def test_a_call_leaves_the_settings_as_they_were(name):
    method = METHODS[name](**settings(batch_size=8, hold_out=0.25))
    before = dict(vars(method))
    treated(method, 1)
    assert vars(method) == before


@pytest.mark.parametrize("name", METHODS)
def test_a_methods_work_is_one_training_named_by_its_kind(name):
    method = METHODS[name](**settings())
    (work,) = method.work()
    other = f"other trainings, {type(method).__name__}"
    assert (work.kind, work.name) == ("training", "retrainings" if name == "retrain" else other)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("change", [{"lr": 0.2}, {"batch_size": 3}, {"seed": 1}], ids=str)
def test_what_determines_a_training_is_in_its_work(name, change):
    (one,), (again,), (other,) = (
        METHODS[name](**settings(**changes)).work() for changes in ({}, {}, change)
    )
    assert fingerprint(one.what) == fingerprint(again.what) != fingerprint(other.what)


def test_how_the_trainer_is_made_is_no_part_of_a_methods_work():
    one, other = (next(FineTune(**settings(make_trainer=make)).work()) for make in (TRAINER, print))
    assert fingerprint(one.what) == fingerprint(other.what)


def test_settings_that_the_optimiser_refuses_are_refused_before_any_compute():
    with pytest.raises(BadInput, match="optimizer or schedule is refused"):
        FineTune(**settings(lr=-1)).check(linear([0, 0]))


def test_a_loss_that_is_not_finite_ends_a_fit_of_few_steps():
    x, y = noisy()
    x[-1] = torch.inf
    with pytest.raises(Diverged, match="FineTune's loss is not finite"):
        FineTune(**settings()).unlearn(victim(linear([1, 0], [0, 1])), split(x, y, known=[0]))


def test_a_fit_does_not_ask_for_a_number_at_every_step(monkeypatch):
    asked, item, true = [], torch.Tensor.item, torch.Tensor.__bool__
    monkeypatch.setattr(torch.Tensor, "item", lambda t: asked.append(1) or item(t))
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda t: asked.append(1) or true(t))
    counts = []
    for batch_size in (39, 1):  # one step, 39 steps
        asked.clear()
        method = FineTune(**settings(batch_size=batch_size))
        method.unlearn(victim(linear([1, 0], [0, 1])), split(*noisy(), known=[0]))
        counts.append(len(asked))
    assert counts[0] == counts[1]


def test_a_caller_who_is_inside_autocast_changes_no_bit():
    nets = []
    for on in (False, True):
        patient = victim(linear([1.0, -2.0], [0.5, 0.5]))
        with torch.autocast("cpu", torch.bfloat16, enabled=on):
            FineTune(**settings(epochs=2)).unlearn(patient, split(*noisy(), known=[0]))
        nets.append(patient.net.weight)
    assert torch.equal(*nets)


def test_a_held_out_part_is_not_trained_on_and_chooses_the_checkpoint():
    x, y = noisy()
    method = FineTune(**settings(lr=3.0, epochs=6, hold_out=0.25))
    patient, whole = victim(linear([1.0, -2.0], [0.5, 0.5])), split(x, y, known=[0, 1, 2, 3])
    history = method.unlearn(patient, whole)
    _, held = method.reserve(whole)
    assert held.count == 9  # of 36 retained
    assert history.sample_gradients == 6 * 27
    seen = [step["held_out_accuracy"] for step in history.steps]
    assert accuracy(patient.net, held) == pytest.approx(max(seen))
    assert len(set(seen)) > 1  # so that there was a choice


def test_a_held_out_part_leaves_the_rest_to_training():
    whole = split(*noisy(), known=[0])
    kept, held = FineTune(**settings(hold_out=0.5)).reserve(whole)
    rows = torch.cat([kept.retain.rows, held.rows]).sort().values
    assert torch.equal(rows, whole.retain.rows)


def test_held_out_rows_are_looked_at_without_augmentation_but_with_the_trigger():
    x, y = noisy()
    whole = split(
        x, y, known=[0], augment=lambda x, coin: torch.zeros_like(x), view=lambda x, rows: x + 1
    )
    kept, held = FineTune(**settings(hold_out=0.25)).reserve(whole)
    assert torch.equal(torch.cat([x for x, _ in held]), x[held.rows] + 1)
    assert torch.equal(torch.cat([x for x, _ in kept.retain]), torch.ones(29, 2))


class Attentive(nn.Linear):
    """Notes whether it answers in bf16, by mode."""

    def __init__(self):
        super().__init__(2, 2)
        self.noted = {}

    def forward(self, x):
        self.noted[self.training] = torch.is_autocast_enabled("cpu")
        return super().forward(x)


@pytest.mark.parametrize(("precision", "bf16"), [("32-true", False), ("bf16-mixed", True)])
def test_held_out_accuracy_is_in_the_precision_of_the_fit(precision, bf16):
    net, trainer = Attentive(), partial(TRAINER, precision=precision)
    method = FineTune(**settings(hold_out=0.25, make_trainer=trainer))
    method.unlearn(victim(net), split(*noisy(), known=[0]))
    assert net.noted == {True: bf16, False: bf16}


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


def test_a_last_batch_of_one_is_joined_to_the_one_before():
    trainer = Remembering()
    method = FineTune(**settings(batch_size=19, epochs=2, make_trainer=trainer))
    history = method.unlearn(victim(Cut(0)), split(*noisy(), known=[0]))  # 39 = 2 * 19 + 1
    assert trainer.steps == 2 * 2
    assert history.sample_gradients == 2 * 39


@pytest.mark.parametrize("name", METHODS)
def test_a_single_known_sample_and_batches_of_one_can_be_trained_on(name):
    method = METHODS[name](**settings(batch_size=1))
    treated_of_one = split(*noisy(), known=[7])
    patient = victim(Cut(0), fresh=Cut(1))
    before = state(patient.net)
    method.unlearn(patient, treated_of_one)
    assert not same(state(patient.net), before)


def test_batch_norm_evaluates_only_where_training_mode_would_refuse():
    normal, single = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    pool = nn.AdaptiveAvgPool2d(1)
    net = nn.Sequential(normal, pool, single)
    x = torch.rand(1, 3, 4, 4)
    with alone(net):
        found = net(x)
    assert torch.equal(found, single.eval()(pool(nn.BatchNorm2d(3)(x))))
    assert (normal.num_batches_tracked, single.num_batches_tracked) == (1, 0)


def test_batch_norm_has_its_mode_back_after_a_single_sample():
    net = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3).eval())
    with alone(net):
        net(torch.rand(1, 3))
    assert [part.training for part in net] == [True, False]
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        net(torch.rand(1, 3))


def test_cross_entropy_of_a_fit_in_bf16_is_taken_in_float32():
    # autocast does it; were it not to, `wide` would have to
    s = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = F.cross_entropy(s, torch.tensor([0, 1, 2, 0]))
    assert torch.equal(loss, F.cross_entropy(s.float(), torch.tensor([0, 1, 2, 0])))
