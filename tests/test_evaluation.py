"""Flat metric names, and the share that healed."""

import pytest
import torch
from torch import nn

from antidote.core import Probe, Samples, Scores, everything
from antidote.evaluation import evaluate, score

SCORES = Scores("trigger/accuracy", "test/accuracy", "trigger/success", "trigger/accuracy_all")
BEFORE = {
    "test/accuracy": 0.9,
    "trigger/accuracy": 0.1,
    "trigger/success": 0.8,
    "trigger/accuracy_all": 0.19,
}


def scored(trigger=0.1, test=0.9, success=0.8):
    after = {"test/accuracy": test, "trigger/accuracy": trigger, "trigger/success": success}
    return score(BEFORE, after | {"trigger/accuracy_all": 0.5}, SCORES)


@pytest.mark.parametrize(
    ("trigger", "share"),
    [(0.9, 1.0), (0.1, 0.0), (0.5, 0.5), (0.7, 0.75)],  # (a - 0.1) / (0.9 - 0.1)
)
def test_healed_is_the_share_of_the_lost_accuracy_that_came_back(trigger, share):
    assert scored(trigger)["healed"] == pytest.approx(share)


@pytest.mark.parametrize(("trigger", "share"), [(0.0, -0.125), (0.98, 1.1)])
def test_healed_is_not_clipped(trigger, share):
    assert scored(trigger)["healed"] == pytest.approx(share)


def test_healed_does_not_depend_on_the_clean_accuracy_afterwards():
    assert scored(0.5, test=0.2)["healed"] == scored(0.5)["healed"]


def test_the_other_readings_of_healed():
    found = scored(0.6, success=0.2)
    assert found["healed_rel"] == pytest.approx(2 / 3)  # 0.6 / 0.9
    assert found["healed_asr"] == pytest.approx(0.75)  # 1 - 0.2 / 0.8
    assert found["healed_raw"] == 0.5


def test_the_accuracy_that_is_lost_is_the_one_that_the_attack_leaves_alone():
    assert scored(test=0.85)["accuracy_drop"] == pytest.approx(0.05)


def test_where_nothing_was_lost_nothing_can_heal():
    level = {**BEFORE, "trigger/accuracy": 0.9, "trigger/success": 0.0}
    found = score(level, level, SCORES)
    assert found["healed"] is None
    assert found["healed_asr"] is None


def test_without_an_attack_there_is_nothing_to_heal():
    found = score({"test/accuracy": 0.9}, {"test/accuracy": 0.8}, None)
    assert found["healed"] is None
    assert found["accuracy_drop"] == pytest.approx(0.1)


def test_metrics_are_named_by_probe_and_measure():
    loader = everything(Samples(torch.zeros(3, 1), torch.zeros(3)))
    probes = {
        "test": Probe(loader, lambda net, loader: {"accuracy": float(loader.count)}),
        "trigger": Probe(loader, lambda net, loader: {"accuracy": 0.5, "success": 0.25}),
    }
    expected = {"test/accuracy": 3.0, "trigger/accuracy": 0.5, "trigger/success": 0.25}
    assert evaluate(nn.Identity(), probes) == expected
