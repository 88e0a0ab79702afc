"""What a method may spend, and what it has spent: exactly, teachers and ascent included."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_nets import SMALL, classifier, images
from test_every_option import composed
from training import linear, recipe, split, victim
from training import settings as trained

from antidote.core import BadInput, Meter, compute
from antidote.core.meter import FORWARD
from antidote.unlearning.ascent import GradientAscent, NegGradPlus
from antidote.unlearning.badt import BadTeacher
from antidote.unlearning.budget import Budget, Spending
from antidote.unlearning.cutoff import Fixed
from antidote.unlearning.finetune import FineTune
from antidote.unlearning.noisy import NoisyDescent
from antidote.unlearning.objective import cross_entropy
from antidote.unlearning.scrub import Scrub
from antidote.unlearning.tail import FineTuneTail, RetrainTail
from antidote.unlearning.weight_editor import WeightEditor

N, KNOWN = 23, [3, 9, 10, 20]


def data(n=N):
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    return x, torch.arange(n) % 2


def methods(share, batch_size=4, epochs=5):
    how = trained(batch_size=batch_size, epochs=epochs)
    how["budget"] = Budget(share, how["recipe"])
    scrub = {"msteps": 2, "alpha": 0.1, "gamma": 1.0, "temperature": 2.0}
    return {
        "FineTune": FineTune(**how),
        "NoisyDescent": NoisyDescent(sigma=0.1, **how),
        "GradientAscent": GradientAscent(**how),
        "NegGradPlus": NegGradPlus(beta=0.9, **how),
        "Scrub": Scrub(**scrub, **how),
        "BadTeacher": BadTeacher(**how),
    }


def spent(method, n=N, known=KNOWN):
    """(counted by somebody else, in sample gradients; declared gradients)"""
    patient, meter = victim(linear([0.1, 0.2], [0.3, -0.4])), Meter()
    meter.watch(patient.net)
    fresh = patient.fresh
    patient.fresh = lambda: meter.watch(fresh())
    history = method.unlearn(patient, split(*data(n), known=known))
    assert history.sample_gradients == meter.count.gradients
    return compute(meter.count.gradients, meter.count.forwards)


@pytest.mark.parametrize("share", [0.04, 0.1, 0.37, 1.0])
@pytest.mark.parametrize("name", methods(1.0))
def test_no_method_spends_more_than_its_budget_nor_much_less(name, share):
    method = methods(share)[name]
    base = len(KNOWN) if name == "GradientAscent" else N
    allowed = share * 5 * base
    assert spent(method) <= allowed + 1e-6
    assert spent(method) > allowed - 2 * method.price


@given(st.integers(2, 40), st.integers(1, 16), st.integers(1, 6), st.floats(0.2, 2))
@settings(max_examples=40, deadline=None)
def test_whatever_the_sizes_a_budget_is_kept_to_the_sample(n, batch_size, epochs, share):
    how = trained(batch_size=batch_size, epochs=epochs)
    method = FineTune(**how | {"budget": Budget(share, how["recipe"])})
    parts = split(*data(n), known=[0])
    steps, batches = method.course(parts)
    sizes = [len(y) for _ in range(steps) for _, y in batches]
    assert len(sizes) == steps
    allowed = int(share * how["recipe"].sample_gradients(n) + 1e-6)
    # less than an eighth of a batch is no step
    assert allowed - batch_size / 8 < sum(sizes) <= allowed


@pytest.mark.parametrize(("epochs", "batch_size"), [(3, 4), (2.5, 4), (1, 23), (1, 7)])
def test_a_budget_of_100_percent_is_what_the_victims_training_took(epochs, batch_size):
    """The victim's own fit is a fine-tuning of nothing known."""
    how = trained(batch_size=batch_size, epochs=epochs)
    meter, patient = Meter(), victim(linear([0.1, 0.2], [0.3, -0.4]))
    meter.watch(patient.net)
    FineTune(**how).unlearn(patient, split(*data(), known=[]))
    assert meter.count.gradients == how["recipe"].sample_gradients(N)
    whole = FineTune(**how | {"budget": Budget(1.0, how["recipe"])})
    assert spent(whole) == how["recipe"].sample_gradients(N)


def test_samples_of_a_recipe_by_hand():
    # 23 rows in batches of 4 are six steps a pass; 15 steps are two passes and three batches
    assert recipe(batch_size=4, steps=15).sample_gradients(23) == 2 * 23 + 3 * 4
    assert recipe(batch_size=4, epochs=2).sample_gradients(23) == 46


def test_teachers_count_a_third_each():
    costs = {name: method.price for name, method in methods(1.0).items()}
    assert costs == {
        "FineTune": 1,
        "NoisyDescent": 1,
        "GradientAscent": 1,
        "NegGradPlus": 1,
        "Scrub": 1 + FORWARD,
        "BadTeacher": 1 + 2 * FORWARD,
    }


def test_a_steps_own_forward_is_not_counted_twice():
    net, meter = linear([1, 0], [0, 1]), Meter()
    meter.watch(net)
    net(torch.zeros(3, 2))
    with torch.no_grad():
        net(torch.zeros(5, 2))
    assert (meter.count.gradients, meter.count.forwards) == (3, 5)
    assert compute(3, 5) == pytest.approx(3 + 5 / 3)


def test_copies_are_counted_what_is_set_aside_is_not_and_what_is_left_is_left():
    patient = victim(linear([1, 0], [0, 1]))
    meter = patient.meter
    meter.watch(patient.net)
    other = patient.copied()
    with torch.no_grad():
        other.net(torch.zeros(5, 2))
        with meter.aside() as apart:
            other.net(torch.zeros(7, 2))
    assert (meter.count.forwards, apart.forwards) == (5, 7)
    meter.leave(other.net)
    other.net(torch.zeros(1, 2))
    assert meter.count.gradients == 0


@pytest.mark.parametrize("tail", [FineTuneTail, RetrainTail])
def test_a_tail_pays_for_a_whole_gradient(tail):
    net = classifier(SMALL["ResNet9"], 3, 16, 16).net.eval()
    how = trained(batch_size=4, epochs=2)
    method = tail(k=1, **how | {"budget": Budget(0.5, how["recipe"])})
    parts = split(images(12, 3, 16, 16), torch.arange(12) % 4, known=[1])
    assert method.unlearn(victim(net), parts).sample_gradients == 12


def editor(share, denominator="retain"):
    budget = None if share is None else Budget(share, recipe(batch_size=4, epochs=5))
    how = (1.0, 4, denominator, "batches", False, 0, budget)
    return WeightEditor(cross_entropy, 2, Fixed(1.0), *how)


def test_importances_need_a_pass_over_all_of_the_data():
    parts = split(*data(), known=KNOWN)
    editor(0.2).afford(parts)
    editor(None).afford(parts)
    with pytest.raises(
        BadInput,
        match=r"budget.share=0.19 .* pays for 21 sample gradients, but measuring importances takes "
        r"23; give at least 0.2",
    ):
        editor(0.19).afford(parts)
    with pytest.raises(BadInput, match=r"takes 27; give at least 0.2348"):
        editor(0.2, "full").afford(parts)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("FineTune", r"pays for 2 sample gradients, but one step of FineTune takes 4; .* 0.0348"),
        ("NegGradPlus", "one step of NegGradPlus takes 8; give at least 0.0696"),
        ("GradientAscent", "pays for 0 sample gradients, but one step of GradientAscent takes 4"),
    ],
)
def test_a_budget_too_small_for_one_step_names_the_least(name, sentence):
    parts = split(*data(), known=KNOWN)
    with pytest.raises(BadInput, match=sentence):
        methods(0.02)[name].afford(parts)
    methods(0.25)[name].afford(parts)


def test_a_budget_must_be_positive_and_pays_for_no_choice_of_checkpoints():
    with pytest.raises(BadInput, match=r"budget.share=0 must be positive"):
        Budget(0, recipe())
    how = trained(hold_out=0.1)
    with pytest.raises(BadInput, match=r"give hold_out=0 in place of 0.1, or budget=none"):
        FineTune(**how | {"budget": Budget(1.0, how["recipe"])})


def test_a_cut_batch_is_its_beginning():
    whole = [(torch.arange(4), torch.arange(4)), (torch.arange(3), torch.arange(3))]
    method = methods(1.0)["FineTune"]
    spending = Spending(whole, 5.0, 1.0, method.size, method.cut)
    assert [len(y) for _, y in spending] == [4, 1]
    assert list(spending) == []


def test_a_step_on_a_few_rows_is_not_taken():
    whole = [(torch.arange(16), torch.arange(16))] * 3
    method = methods(1.0)["FineTune"]
    for left, sizes in ((33.0, [16, 16]), (34.0, [16, 16, 2])):
        spending = Spending(whole, left, 1.0, method.size, method.cut)
        assert [len(y) for _, y in spending] == sizes
        assert list(spending) == []


@pytest.mark.parametrize(("n", "counts"), [(90, (45, 45)), (30, (20, 10)), (3, (2, 1))])
def test_a_cut_pair_keeps_what_is_known_of_it(n, counts):
    whole = ((torch.arange(128),) * 2, (torch.arange(128 if n == 90 else 10),) * 2)
    cut = methods(1.0)["NegGradPlus"].cut(whole, n)
    assert tuple(len(y) for _, y in cut) == counts


def test_ascent_takes_as_many_passes_whatever_a_recipe_counts_in():
    """Five passes over 23 rows are 30 steps of four; a fifth of that is one pass over the known."""
    for length in ({"epochs": 5}, {"steps": 30}):
        how = trained(batch_size=4, **length)
        method = GradientAscent(**how | {"budget": Budget(0.2, how["recipe"])})
        assert spent(method) == 4


def test_ascent_without_known_poison_asks_for_nothing():
    methods(0.02)["GradientAscent"].afford(split(*data(), known=[]))


@pytest.mark.parametrize("option", ["assd_repair", "xlf_ptn_repair"])
def test_a_repair_is_as_long_as_its_passes_say(option):
    cfg = composed(f"unlearning={option}", "budget=10pct")[0]["unlearning"]
    assert cfg["then"]["budget"] is None


def test_the_schedule_ends_where_the_budget_does():
    seen = []

    def schedule(optimizer, total_steps):
        seen.append(total_steps)
        return torch.optim.lr_scheduler.ConstantLR(optimizer)

    how = trained(batch_size=4, epochs=5) | {"schedule": schedule}
    method = FineTune(**how | {"budget": Budget(0.2, recipe(batch_size=4, epochs=5))})
    method.unlearn(victim(linear([0, 0], [0, 0])), split(*data(), known=KNOWN))
    # 23 sample gradients of 19 retained rows: five batches, and one
    assert seen[-1] == 6


HALF = ["budget=10pct", "budget.share=0.5"]


def test_what_knows_no_budget_is_told_of_when_it_took_more(run, caplog):
    run("unlearning=retrain", *HALF)
    assert "more than budget.share=0.5" in caplog.text
    caplog.clear()
    run("unlearning=gd", *HALF)
    assert "more than budget.share" not in caplog.text


def test_what_trials_take_is_a_record_of_its_own(run):
    left = run("unlearning=gd_tuned", *HALF)
    assert left["seconds"]["tune"] == left["chosen"]["seconds"] > 0
    assert left["tuning_fraction"] > left["compute_fraction"] > 0
    plain = run("unlearning=gd", *HALF)
    assert plain["chosen"] is None
    assert "tune" not in plain["seconds"]
    assert "tuning_fraction" not in plain
