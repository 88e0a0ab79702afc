"""Gaussian poison: noise of its own on each row, and what a verdict makes of its score."""

import pytest
import torch
from attacks import no_surrogate, others, seen
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from antidote.core import BadInput, as_float
from antidote.metrics.score import Residual
from antidote.poison import gaussian
from antidote.poison.gaussian import Gaussian, Noise

SETTINGS = {"rate": 0.2, "eps": 0.5, "stage": "post_transform", "seed": 0}
STAGES = ("post_transform", "pre_augment")


def left_by(data, **changes):
    return Gaussian(**SETTINGS | changes).poison(data, no_surrogate)


def units(data):
    return data.facts["std"].view(-1, 1, 1)


def noise(data, left):
    """xi of the poisoned rows, in units of the data's deviations."""
    return (seen(left, left.indices) - as_float(data.train.x[left.indices])) / units(data)


@pytest.mark.parametrize("stage", STAGES)
def test_exactly_a_share_of_the_rows_gets_noise_and_no_label_changes(tiny, stage):
    left = left_by(tiny, stage=stage)
    assert len(left.indices) == 12
    assert torch.equal(left.train.y, tiny.train.y)
    assert torch.equal(left.truth, tiny.train.y)
    rest = others(left, left.indices)
    assert torch.equal(seen(left)[rest], as_float(tiny.train.x)[rest])
    assert (seen(left, left.indices) != as_float(tiny.train.x[left.indices])).all()


@pytest.mark.parametrize("stage", STAGES)
def test_the_noise_has_the_law_that_the_score_rests_on_so_nothing_is_clipped(tiny, stage):
    left = left_by(tiny, stage=stage, rate=1.0)
    xi = noise(tiny, left)
    assert kstest((xi / 0.5).flatten().numpy(), "norm").pvalue > 0.01
    shown = seen(left)
    assert shown.min() < 0
    assert shown.max() > 1


@pytest.mark.parametrize("stage", STAGES)
def test_the_probe_knows_that_very_noise_and_looks_at_the_clean_images(tiny, stage):
    left = left_by(tiny, stage=stage)
    probe = left.probes["gus"]
    torch.testing.assert_close(0.5 * probe.measure.noise, noise(tiny, left), atol=1e-5, rtol=1e-4)
    looked_at = torch.cat([x for x, _ in probe.loader])
    assert torch.equal(looked_at, as_float(tiny.train.x[left.indices]))
    assert (probe.measure.fresh != probe.measure.noise).any(1).all()


@pytest.mark.parametrize("stage", STAGES)
def test_membership_is_asked_of_what_training_saw(tiny, stage):
    left = left_by(tiny, stage=stage)
    probe = left.probes["membership"]
    members = torch.cat([x for x, _ in probe.loader])
    torch.testing.assert_close(members, seen(left, left.indices))
    others = probe.measure.others
    unseen = torch.cat([x for x, _ in others]) - as_float(tiny.test.x[others.rows])
    assert (unseen / units(tiny)).std().item() == pytest.approx(0.5, rel=0.05)


def test_a_smaller_rate_is_inside_a_larger_noise_included(tiny):
    few, many = left_by(tiny, rate=0.1), left_by(tiny, rate=0.4)
    assert torch.isin(few.indices, many.indices).all()
    places = torch.searchsorted(many.indices, few.indices)
    torch.testing.assert_close(noise(tiny, few), noise(tiny, many)[places])


def test_the_same_in_every_epoch_and_another_for_each_row(tiny):
    left = left_by(tiny)
    assert torch.equal(seen(left), seen(left))
    xi = noise(tiny, left).flatten(1)
    assert torch.linalg.matrix_rank(xi) == len(xi)


def test_a_seed_is_a_draw(tiny):
    assert torch.equal(seen(left_by(tiny)), seen(left_by(tiny)))
    assert not torch.equal(seen(left_by(tiny)), seen(left_by(tiny, seed=1)))


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(0, 99))
def test_noise_moves_its_own_rows_alone(mask, seed):
    coin = torch.Generator().manual_seed(seed)
    n, rows = len(mask), torch.tensor(mask).nonzero().squeeze(1)
    xi, x = (torch.randn(m, 1, 2, 2, generator=coin) for m in (len(rows), n))
    asked = torch.randperm(n, generator=coin)
    moved = Noise(xi, rows, n)(x[asked], asked) - x[asked]
    wanted = torch.zeros(n, 1, 2, 2)
    wanted[rows] = xi
    torch.testing.assert_close(moved, wanted[asked])


def test_noise_in_more_images_than_fit_is_refused(tiny, monkeypatch):
    monkeypatch.setattr(gaussian, "MOST", 1000)
    with pytest.raises(BadInput, match=r"poison.stage=post_transform adds the noise"):
        left_by(tiny, stage="pre_augment")
    left_by(tiny, stage="post_transform")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"eps": 0.0}, "poison.eps=0.0 is no noise; give more than 0, as 0.32"),
        ({"eps": -1}, "poison.eps=-1 is no noise; give more than 0, as 0.32"),
        ({"stage": "after"}, "poison.stage=after is unknown"),
        ({"rate": 0}, r"poison.rate=0 is not in \(0, 1\]"),
    ],
)
def test_bad_settings_are_one_sentence(changes, sentence):
    with pytest.raises(BadInput, match=sentence):
        Gaussian(**SETTINGS | changes)


VERDICT = Residual("gus/score", "gus/control", "gus/n", "test/accuracy", {"gus": "gus/score"})


def measured(score, control=0.0, accuracy=0.9):
    return {
        "gus/score": score,
        "gus/control": control,
        "gus/n": 200.0,
        "test/accuracy": accuracy,
    }


def test_what_is_left_is_a_share_of_the_victims_score():
    scores = VERDICT(measured(0.5), measured(0.2, accuracy=0.88), measured(0.1, accuracy=0.91))
    assert scores == {
        "healed": pytest.approx(0.6),
        "residual": pytest.approx(0.4),
        "recovered": pytest.approx(0.75),
        "accuracy_drop": pytest.approx(0.02),
        "clean_accuracy_before": 0.9,
        "clean_accuracy": 0.88,
        "clean_accuracy_ceiling": 0.91,
        "gus_before": 0.5,
        "gus": 0.2,
        "gus_ceiling": 0.1,
    }


@pytest.mark.parametrize(("score", "control"), [(0.23, 0.0), (0.5, 0.28), (0.0, 0.0), (-0.5, 0.0)])
def test_a_score_that_fresh_noise_may_have_is_no_detectable_poison(score, control):
    """2.326 sqrt(2 / 200) = 0.2326: below, nothing can heal; what is left has no meaning."""
    scores = VERDICT(measured(score, control), measured(0.0), measured(0.0))
    assert scores["healed"] is scores["residual"] is scores["recovered"] is None


def test_a_control_far_below_does_not_make_poison_of_a_score_near_0():
    """Nor does a ceiling close to the victim give a share of the gap."""
    assert VERDICT(measured(0.01, -0.5), measured(0.2), measured(0.02))["residual"] is None
    assert VERDICT(measured(0.0, -1.0), measured(0.2))["healed"] is None
    near = VERDICT(measured(0.5), measured(0.2), measured(0.45))
    assert near["recovered"] is None
    assert near["healed"] == pytest.approx(0.6)


@pytest.mark.parametrize(("score", "control"), [(0.24, 0.0), (0.5, 0.26)])
def test_a_score_above_is(score, control):
    assert VERDICT(measured(score, control), measured(0.0))["healed"] == 1


def test_a_score_turned_round_is_more_than_healed():
    assert VERDICT(measured(0.5), measured(-0.1))["healed"] == pytest.approx(1.2)


def test_a_victim_has_learned_its_noise_and_a_net_without_it_has_not(run):
    """The acceptance of the score on digits: 144 rows, two nets that never saw the poison."""
    digits = ["dataset=digits", "model.net.width=0.25", "threads=1"]
    still = ["dataset.augment.padding=0", "poison=gaussian", "poison.rate=0.1", "poison.eps=1.0"]
    how = ["discovery=100pct", "unlearning=retrain", "ceiling=true", "recipe.epochs=15"]
    left = run(*digits, *still, *how, small=[])
    limit = 3 / left["n_poisoned"] ** 0.5
    assert left["before"]["gus/score"] > limit
    assert left["before"]["gus/p"] < 0.01
    for net in ("ceiling", "after"):
        assert abs(left[net]["gus/score"]) < limit
        assert abs(left[net]["gus/control_score"]) < limit
    assert left["residual"] < 0.5
    # a threshold on the loss sees next to nothing of it, before as after
    assert left["before"]["membership/auroc"] < 0.7
