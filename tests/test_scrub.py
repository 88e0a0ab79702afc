"""SCRUB in both variants: losses by hand, ascent steps counted, a teacher that stays."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training import Remembering, linear, same, settings, spied, split, state, victim

from antidote.core import BadInput, Loader, Samples
from antidote.unlearning.distance import kl
from antidote.unlearning.scrub import Rounds, Scrub, ScrubCorrective

# softmax((2 ln 3, 0) / 2) = (3/4, 1/4)
TEACHER = torch.tensor([[2 * torch.tensor(3.0).log().item(), 0.0]])
STUDENT = torch.zeros(1, 2)
KL = 4 * (0.75 * torch.tensor(1.5).log() + 0.25 * torch.tensor(0.5).log()).item()  # T^2 = 4
CE = torch.tensor(2.0).log().item()
ZERO = torch.tensor([0])


def original(**changes):
    chosen = {"gamma": 0.9, "alpha": 0.5, "temperature": 2.0, "msteps": 2}
    return Scrub(**settings(epochs=3) | chosen | changes)


def corrective(**changes):
    chosen = {"alpha": 0.5, "temperature": 2.0, "msteps": 2}
    return ScrubCorrective(**settings(epochs=3) | chosen | changes)


def test_the_divergence_by_hand():
    assert kl(TEACHER, STUDENT, 2.0).item() == pytest.approx(KL, rel=1e-6)
    assert pytest.approx(0.523248, abs=1e-6) == KL


@pytest.mark.parametrize("T", [1.0, 4.0])
def test_the_divergence_of_bf16_logits_is_taken_in_float32(T):
    coin = torch.Generator().manual_seed(0)
    t, s = (4 * torch.randn(8, 10, generator=coin) for _ in range(2))
    t, s = t.bfloat16(), s.bfloat16().requires_grad_()
    (rough,) = torch.autograd.grad(kl(t, s, T), s)
    exact = s.detach().float().requires_grad_()
    (fine,) = torch.autograd.grad(kl(t.float(), exact, T), exact)
    assert torch.equal(rough, fine.bfloat16())


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=3), st.floats(0.5, 8))
def test_the_divergence_of_a_net_from_itself_is_zero(logits, T):
    x = torch.tensor([logits])
    assert kl(x, x, T).item() == pytest.approx(0, abs=1e-5)


def test_the_original_goes_away_from_the_teacher_only():
    method = original()
    assert method.away(STUDENT, TEACHER, ZERO).item() == pytest.approx(-KL, rel=1e-6)
    expected = 0.9 * CE + 0.5 * KL
    assert method.towards(STUDENT, TEACHER, ZERO).item() == pytest.approx(expected, rel=1e-6)


def test_the_corrective_variant_goes_away_with_the_whole_loss():
    method = corrective()
    expected = CE + 0.5 * KL
    assert method.towards(STUDENT, TEACHER, ZERO).item() == pytest.approx(expected, rel=1e-6)
    assert method.away(STUDENT, TEACHER, ZERO).item() == pytest.approx(-expected, rel=1e-6)


def ascents(method, known, n=50_000, steps=1000, batch_size=512):
    """Ascent steps in the first `steps` steps on a training set of n rows."""
    empty = Samples(torch.zeros(n, 0), torch.zeros(n, dtype=torch.int64))
    rows = torch.arange(n)
    forget, retain = (Loader(empty, part, batch_size) for part in (rows[:known], rows[known:]))
    rounds, seen = Rounds(forget, retain, method.ascend), []
    while len(seen) < steps:
        seen += [ascent for _, _, ascent in rounds]
    return sum(seen[:steps])


@pytest.mark.parametrize(("known", "count"), [(1, 2), (512, 2), (513, 4), (1024, 4), (5000, 20)])
def test_the_corrective_variant_ascends_as_rarely_as_the_reference(known, count):
    assert ascents(corrective(msteps=100), known) == count


def test_the_original_ascends_in_its_first_passes():
    assert ascents(original(msteps=2), 1024) == 4
    assert ascents(original(msteps=0), 1024) == 0


X = [[1.0, 0.0], [0.5, 0.5], [1.0, 1.0], [0.0, 2.0], [2.0, 0.0], [0.0, 1.0]]
Y = [0, 0, 1, 1, 0, 1]


@pytest.mark.parametrize("make", [original, corrective])
def test_the_teacher_does_not_move_and_shares_no_weight(make):
    patient = victim(linear([1, 0], [0, 1]))
    before = state(patient.net)
    method, calls = spied(make())
    method.unlearn(patient, split(X, Y, known=[0, 5]))
    _, _, teacher = calls[-1]
    assert same(state(teacher), before)
    assert teacher.weight.data_ptr() != patient.net.weight.data_ptr()
    assert not teacher.training
    assert not same(state(patient.net), before)


def test_ascent_steps_are_counted_and_come_on_top_of_the_originals_passes():
    # 4 retained rows in batches of 4: a step a pass, 3 passes; 2 known rows: a step in 2 of them
    trainer = Remembering()
    method = original(make_trainer=trainer)
    history = method.unlearn(victim(linear([1, 0], [0, 1])), split(X, Y, known=[0, 5]))
    assert history.steps[-1] == {"ascent_steps": 2.0}
    assert trainer.steps == 5
    assert history.sample_gradients == 3 * 4 + 2 * 2


def test_ascent_steps_are_part_of_the_corrective_variants_budget():
    trainer = Remembering()
    method = corrective(make_trainer=trainer)
    history = method.unlearn(victim(linear([1, 0], [0, 1])), split(X, Y, known=[0, 5]))
    # ascent, descent; a round of 2 steps has begun, so no more ascent
    assert trainer.steps == 3
    assert history.steps[-1] == {"ascent_steps": 1.0}


@pytest.mark.parametrize("make", [original, corrective])
def test_ascent_and_descent_have_a_loss_each_in_the_history(make):
    history = make().unlearn(victim(linear([1, 0], [0, 1])), split(X, Y, known=[0, 5]))
    assert history.steps[0].keys() == {"ascent_loss", "loss"}


@pytest.mark.parametrize("make", [original, corrective])
@pytest.mark.parametrize(
    ("setting", "sentence"),
    [({"alpha": -1}, "alpha"), ({"temperature": 0}, "temperature"), ({"msteps": -1}, "msteps")],
)
def test_bad_settings_are_refused(make, setting, sentence):
    with pytest.raises(BadInput, match=sentence):
        make(**setting)


def test_a_negative_gamma_is_refused():
    with pytest.raises(BadInput, match="gamma"):
        original(gamma=-1)
