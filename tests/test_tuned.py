"""Settings chosen on held-out rows: what wins, what is left alone, what is told."""

from functools import partial
from typing import ClassVar

import pytest
import torch
from training import linear, noisy, same, settings, split, state, victim

from antidote.core import BadInput, Diverged, History, Method, Work
from antidote.engine.results import chosen
from antidote.unlearning.ascent import GradientAscent
from antidote.unlearning.cutoff import Fixed
from antidote.unlearning.finetune import FineTune
from antidote.unlearning.tuned import Tuned, leaves, ranking, with_value

NAN = float("nan")


def trial(accuracy, loss):
    return {"accuracy": accuracy, "loss": loss}


@pytest.mark.parametrize(
    ("trials", "order"),
    [
        ([trial(0.9, 1.0), trial(0.89, 2.0), trial(0.5, 9.0)], [1, 0]),  # the last: below the floor
        ([trial(0.88, 1.0), trial(0.88, 1.0)], [0, 1]),  # at the floor, and equals in their order
        ([trial(0.5, 9.0), trial(0.7, 1.0)], [1]),  # none meets it: the one that loses least
        ([trial(0.0, NAN), trial(0.9, 0.1)], [1]),  # diverged
        ([trial(0.95, NAN), trial(0.9, 0.1)], [1]),
    ],
)
def test_what_forgets_most_without_costing_too_much_comes_first(trials, order):
    assert ranking(trials, floor=0.88) == order


class Writes(Method):
    """Puts a number into the weights; remembers what it was called with."""

    calls: ClassVar = []

    def __init__(self, value, optimizer=None):
        self.value, self.optimizer = value, optimizer

    def unlearn(self, victim, split):
        Writes.calls.append((self.value, split))
        if self.value is None:
            raise Diverged("the loss is not finite")
        with torch.no_grad():
            victim.net.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]) * self.value)
        return History([{"loss": 0.5}], sample_gradients=7)


@pytest.fixture(autouse=True)
def forgotten():
    Writes.calls = []


class Bolts(Writes):
    """The same, but on all 32 rows of some values wrong about all, or about half of them.

    It passes the known rows once, for the meter.
    """

    def __init__(self, value, wrong):
        super().__init__(value)
        self.wrong = wrong

    def unlearn(self, victim, split):
        for x, _ in split.forget:
            victim.net(x)
        history = super().unlearn(victim, split)
        if split.retain.count == 32 and self.wrong is None:
            raise Diverged("the loss is not finite")
        if split.retain.count == 32 and self.value in self.wrong:
            with torch.no_grad():
                victim.net.weight.mul_(-1 if self.wrong[self.value] else 0)
        return history


def bolting(wrong):
    """Candidates 4 and 1, of which trials prefer 1. By value, whether all or half goes `wrong`."""
    make = partial(Bolts, value=0, wrong=wrong)
    return Tuned(make, {"value": [4.0, 1.0]}, 0.25, 0.02, 0)


def tuned(*values, held_out=0.25, floor=0.02, seed=0):
    return Tuned(partial(Writes, value=0), {"value": list(values)}, held_out, floor, seed)


def rows():
    """Label 0 on the right: a net (s, -s) is right about all; the known rows are no exception."""
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).repeat(20, 1)
    return x, torch.tensor([0, 1]).repeat(20)


def test_the_winner_runs_on_all_of_the_split_and_trials_on_a_part():
    x, y = rows()
    parts = split(x, y, known=range(8))
    patient = victim(linear([5, 0], [-5, 0]))
    history = tuned(4.0, 1.0, -1.0).unlearn(patient, parts)
    # 1 is less sure than 4, so its loss is higher; -1 is wrong about the rest
    assert history.chosen["values"] == {"value": 1.0}
    assert patient.net.weight[0, 0] == 1.0
    sizes = [(part.forget.count, part.retain.count) for _, part in Writes.calls]
    assert sizes == [(6, 24)] * 3 + [(8, 32)]
    assert [value for value, _ in Writes.calls] == [4.0, 1.0, -1.0, 1.0]


def test_held_out_rows_are_in_no_trial():
    x, y = rows()
    method, parts = tuned(1.0), split(x, y, known=range(8))
    part, held = method.apart(parts)
    for mine, other, whole in (
        (part.forget, held.forget, parts.forget),
        (part.retain, held.retain, parts.retain),
    ):
        assert torch.equal(torch.cat([mine.rows, other.rows]).sort().values, whole.rows)
        assert other.augment is None


def test_of_one_known_sample_nothing_is_held_out():
    x, y = rows()
    part, held = tuned(1.0).apart(split(x, y, known=[0]))
    assert part.forget.rows.tolist() == held.forget.rows.tolist() == [0]


@pytest.mark.parametrize(("value", "met"), [(-1.0, False), (1.0, True)])
def test_where_nothing_meets_the_floor_log_and_table_say_so(caplog, value, met):
    x, y = rows()
    net = victim(linear([5, 0], [-5, 0]))
    history = tuned(value, -2.0).unlearn(net, split(x, y, known=[0, 1]))
    assert history.chosen["floor_met"] is met
    assert (history.chosen["after"]["accuracy"] == 0) is not met
    said = "none of 2 keeps to unlearning.floor=0.02 on held-out rows; this one loses least"
    assert (said in caplog.messages) is not met
    assert chosen(history.chosen) == (f"value={value}" if met else f"value={value} (floor not met)")


@pytest.mark.parametrize(
    ("wrong", "weight", "refused", "met"),
    [
        ({}, 1.0, 0, True),
        ({1.0: True}, 4.0, 1, True),  # the next best takes its place
        ({1.0: False, 4.0: True}, 0.0, 1, False),  # half right is more than all wrong
    ],
)
def test_a_run_that_breaks_the_floor_is_refused(wrong, weight, refused, met):
    x, y = rows()
    patient = victim(linear([5, 0], [-5, 0]))
    patient.meter.watch(patient.net)
    history = bolting(wrong).unlearn(patient, split(x, y, known=range(8)))
    assert patient.net.weight[0, 0] == weight
    assert history.chosen["refused"] == refused
    assert history.chosen["floor_met"] is met
    # 2 trials of 6 known rows, 8 in a run; 2 + 8 are looked at before, after each trial and run
    assert patient.meter.count.gradients == 8
    looks = (3 + 1 + refused) * (2 + 8)
    assert history.chosen["compute"] == pytest.approx(2 * 6 + refused * 8 + looks / 3)


def test_where_all_runs_diverge_nothing_is_kept():
    x, y = rows()
    patient = victim(linear([5, 0], [-5, 0]))
    with pytest.raises(Diverged, match="the loss is not finite with any of the settings"):
        bolting(None).unlearn(patient, split(x, y, known=range(8)))
    assert patient.net.weight[0, 0] == 5


def test_a_trial_that_diverges_loses():
    x, y = rows()
    history = tuned(None, 1.0).unlearn(victim(linear([5, 0], [-5, 0])), split(x, y, known=[0, 1]))
    assert history.chosen["values"] == {"value": 1.0}


def test_the_method_then_does_what_it_does_by_itself():
    """Same bits: trials draw nothing of its random numbers and leave no trace in the net."""
    x, y = noisy()
    nets, how = [], settings(epochs=2, batch_size=8)
    for method in (
        FineTune(**how),
        Tuned(partial(FineTune, **how), {"seed": [0]}, 0.2, 1.0, 0),
    ):
        patient = victim(linear([0.1, 0.2], [0.3, 0.4]))
        method.unlearn(patient, split(x, y, known=range(5)))
        nets.append(state(patient.net))
    assert same(*nets)


def test_what_trials_take_is_told_apart():
    x, y = noisy()
    patient, how = victim(linear([0.1, 0.2], [0.3, 0.4])), settings(batch_size=8)
    patient.meter.watch(patient.net)
    make = partial(GradientAscent, **how)
    method = Tuned(make, {"optimizer": {"lr": [0.1, 0.01]}}, 0.2, 1.0, 0)
    history = method.unlearn(patient, split(x, y, known=range(10)))
    # two trials of 8 known rows each; 2 + 6 rows looked at before, after each, and after the run
    assert history.chosen["compute"] == pytest.approx(2 * 8 + 4 * (2 + 6) / 3)
    assert history.chosen["seconds"] > 0
    assert history.sample_gradients == patient.meter.count.gradients == 10
    assert patient.meter.count.forwards == 0


def test_two_known_samples_leave_one_for_trials():
    x, y = rows()
    part, held = tuned(1.0, held_out=0.9).apart(split(x, y, known=[0, 1]))
    assert (part.forget.count, held.forget.count) == (1, 1)


def test_trials_share_what_they_measure_alike():
    x, y = rows()
    part, _ = tuned(1.0).apart(split(x, y, known=range(8)))
    work, calls, net = (
        Work("importances", {"by": "test"}, "importances"),
        [],
        linear([1, 0], [0, 1]),
    )

    def compute():
        calls.append(1)
        return {"t": torch.ones(1)}

    for _ in range(2):
        part.memo.tensors(work, net, [part.forget], compute)
    part.memo.tensors(work, linear([2, 0], [0, 1]), [part.forget], compute)  # another net
    assert len(calls) == 2


def test_values_inside_partials_and_objects():
    make = partial(Writes, value=1, optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9))
    changed = with_value(make, "optimizer.lr", 0.5)
    assert changed.keywords["optimizer"].keywords == {"lr": 0.5, "momentum": 0.9}
    assert make.keywords["optimizer"].keywords["lr"] == 0.1
    inside = with_value(partial(Writes, value=Fixed(3.0)), "value.value", 7.0)
    assert inside.keywords["value"].value == 7.0


def test_a_space_is_nested_as_settings_are():
    space = {"optimizer": {"lr": [1, 2]}, "beta": [3]}
    assert dict(leaves(space)) == {"optimizer.lr": [1, 2], "beta": [3]}


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: tuned(), "unlearning.space has nothing to choose from"),
        (lambda: tuned(1, held_out=0), "unlearning.held_out=0 is not a share"),
        (lambda: tuned(1, floor=-1), "unlearning.floor=-1 must not be negative"),
        (
            lambda: Tuned(partial(Writes, value=1), {"lr": [1]}, 0.2, 0.02, 0),
            "unlearning.space names 'lr', which is no setting of Writes; those are value",
        ),
    ],
)
def test_bad_settings_are_one_sentence(make, sentence):
    with pytest.raises(BadInput, match=sentence):
        make()


def test_every_candidate_is_built_and_checked_before_any_compute():
    make = partial(FineTune, **settings())
    with pytest.raises(BadInput, match=r"unlearning.fraction=-1 must be positive"):
        Tuned(make, {"fraction": [1.0, -1]}, 0.2, 0.02, 0)
    method = Tuned(make, {"optimizer": {"lr": [0.1, -1]}}, 0.2, 0.02, 0)
    with pytest.raises(BadInput, match="Invalid learning rate"):
        method.check(linear([0, 0], [0, 0]))
