"""Flat metric names, and the share that healed."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from antidote.core import Probe, Samples, everything
from antidote.engine.stages import measure
from antidote.metrics.score import Recovery, Untouched, objective
from antidote.metrics.table import table

VERDICT = Recovery("trigger/accuracy_all", "test/accuracy", "trigger/success", "poisoned/accuracy")
BEFORE = {
    "test/accuracy": 0.9,
    "trigger/accuracy_all": 0.1,
    "trigger/success": 0.8,
    "poisoned/accuracy": 0.05,
}


def measured(harmed=0.1, test=0.9, success=0.8, seen=0.05):
    return dict(zip(BEFORE, (test, harmed, success, seen), strict=True))


def scored(*harmed, **after):
    return VERDICT(BEFORE, measured(*harmed, **after))


@pytest.mark.parametrize(
    ("harmed", "share"),
    [(0.9, 1.0), (0.1, 0.0), (0.5, 0.5), (0.7, 0.75)],  # (a - 0.1) / (0.9 - 0.1)
)
def test_healed_is_the_share_of_the_lost_accuracy_that_came_back(harmed, share):
    assert scored(harmed)["healed"] == pytest.approx(share)


@pytest.mark.parametrize(("harmed", "share"), [(0.0, -0.125), (0.98, 1.1)])
def test_healed_is_not_clipped(harmed, share):
    assert scored(harmed)["healed"] == pytest.approx(share)


def test_healed_does_not_depend_on_the_clean_accuracy_afterwards():
    assert scored(0.5, test=0.2)["healed"] == scored(0.5)["healed"]


def test_the_other_readings_of_healed():
    found = scored(0.6, success=0.2, seen=0.7)
    assert found["healed_rel"] == pytest.approx(2 / 3)  # 0.6 / 0.9
    assert found["healed_asr"] == pytest.approx(0.75)  # 1 - 0.2 / 0.8
    assert found["healed_raw"] == 0.6
    assert found["healed_train"] == 0.7


def test_what_healed_in_training_is_the_accuracy_on_the_poison_afterwards():
    found = VERDICT(measured(seen=0.3), measured(seen=0.4, harmed=0.8, test=0.7))
    assert found["healed_train"] == 0.4


def test_the_accuracy_that_is_lost_is_the_one_that_the_attack_leaves_alone():
    assert scored(test=0.85)["accuracy_drop"] == pytest.approx(0.05)
    assert scored(test=0.95)["accuracy_drop"] == pytest.approx(-0.05)


def test_what_healed_was_worked_out_from_is_told_with_it():
    found = scored(0.6, test=0.85, success=0.2)
    names = ("clean_accuracy", "harmed_accuracy", "attack_success")
    assert [found[f"{name}_before"] for name in names] == [0.9, 0.1, 0.8]
    assert [found[name] for name in names] == [0.85, 0.6, 0.2]


@pytest.mark.parametrize("harmed", [0.9, 0.8901, 0.95, 1.0])  # nothing, a hair, less than nothing
def test_where_less_than_a_point_was_taken_nothing_can_heal(harmed):
    before = measured(harmed)
    for after in (measured(0.2), measured(0.9), measured(1.0)):
        assert VERDICT(before, after)["healed"] is None


@pytest.mark.parametrize("hundredth", range(1, 100))
def test_a_point_is_enough_whatever_its_last_digit(hundredth):
    before = measured(hundredth / 100, test=(hundredth + 1) / 100)
    assert VERDICT(before, before)["healed"] == 0


def test_a_net_that_lost_78_points_for_nothing_has_an_objective_of_minus_0_78():
    # the attack had taken -0.6 points: by that share the net would have healed 130 times over
    before, after = measured(0.906, test=0.9), measured(0.12, test=0.12)
    assert objective(VERDICT(before, after)) == pytest.approx(-0.78)


def test_the_objective_is_what_healed_less_what_was_lost():
    assert objective(scored(0.7, test=0.85)) == pytest.approx(0.75 - 0.05)


def test_an_attack_without_success_has_no_share_of_it():
    assert VERDICT(measured(success=0.0), measured(success=0.5))["healed_asr"] is None


def test_a_net_without_accuracy_has_no_share_of_it():
    nothing = measured(0.0, test=0.0)
    assert VERDICT(nothing, nothing)["healed_rel"] is None


@st.composite
def measurements(draw):
    """Four shares of the rows of a probe; the rows are few, so that extremes are frequent."""
    n = draw(st.integers(1, 120))
    return measured(*(draw(st.integers(0, n)) / n for _ in BEFORE))


@given(measurements(), measurements())
def test_a_verdict_is_a_finite_number_or_none_whatever_was_measured(before, after):
    for verdict in (VERDICT, Untouched("test/accuracy")):
        found = verdict(before, after)
        told = [value for value in (*found.values(), objective(found)) if value is not None]
        assert all(isinstance(value, float) and math.isfinite(value) for value in told)


@given(measurements(), measurements())
def test_healed_is_told_if_and_only_if_the_attack_took_a_point(before, after):
    taken = before["test/accuracy"] - before["trigger/accuracy_all"]
    if abs(taken - 0.01) > 1e-6:
        assert (VERDICT(before, after)["healed"] is not None) == (taken > 0.01)


def test_without_an_attack_there_is_nothing_to_heal_and_only_a_price():
    found = Untouched("test/accuracy")({"test/accuracy": 0.9}, {"test/accuracy": 0.8})
    assert found["healed"] is None
    assert found["accuracy_drop"] == pytest.approx(0.1)
    assert objective(found) == pytest.approx(-0.1)
    assert (found["clean_accuracy_before"], found["clean_accuracy"]) == (0.9, 0.8)


def test_every_number_of_a_verdict_is_in_the_table_of_metrics():
    assert {*scored(), "objective"} <= table().keys()


def test_metrics_are_named_by_probe_and_measure():
    loader = everything(Samples(torch.zeros(3, 1), torch.zeros(3)))
    probes = {
        "test": Probe(loader, lambda net, loader: {"accuracy": float(loader.count)}),
        "trigger": Probe(loader, lambda net, loader: {"accuracy": 0.5, "success": 0.25}),
    }
    expected = {"test/accuracy": 3.0, "trigger/accuracy": 0.5, "trigger/success": 0.25}
    assert measure(nn.Identity(), probes) == expected
