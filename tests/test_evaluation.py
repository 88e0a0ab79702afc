"""Flat metric names, and the share that healed."""

import pytest
import torch
from torch import nn

from antidote.core import Probe, Samples, everything
from antidote.evaluation import evaluate, healed

BEFORE = {"test/accuracy": 0.9, "trigger/accuracy": 0.1}


def after(trigger, test=0.9):
    return {"test/accuracy": test, "trigger/accuracy": trigger}


@pytest.mark.parametrize(
    ("trigger", "share"),
    [(0.9, 1.0), (0.1, 0.0), (0.5, 0.5), (0.7, 0.75)],  # (a - 0.1) / (0.9 - 0.1)
)
def test_healed_is_the_share_of_the_lost_accuracy_that_came_back(trigger, share):
    assert healed(BEFORE, after(trigger)) == pytest.approx(share)


@pytest.mark.parametrize(("trigger", "share"), [(0.0, -0.125), (0.98, 1.1)])
def test_healed_is_not_clipped(trigger, share):
    assert healed(BEFORE, after(trigger)) == pytest.approx(share)


def test_healed_does_not_depend_on_the_clean_accuracy_afterwards():
    assert healed(BEFORE, after(0.5, test=0.2)) == healed(BEFORE, after(0.5))


def test_where_nothing_was_lost_nothing_can_heal():
    assert healed({"test/accuracy": 0.9, "trigger/accuracy": 0.9}, after(0.5)) is None


def test_without_a_trigger_there_is_nothing_to_heal():
    assert healed({"test/accuracy": 0.9}, {"test/accuracy": 0.8}) is None


def test_metrics_are_named_by_probe_and_measure():
    loader = everything(Samples(torch.zeros(3, 1), torch.zeros(3)))
    probes = {
        "test": Probe(loader, lambda net, loader: {"accuracy": float(loader.count)}),
        "trigger": Probe(loader, lambda net, loader: {"accuracy": 0.5, "success": 0.25}),
    }
    expected = {"test/accuracy": 3.0, "trigger/accuracy": 0.5, "trigger/success": 0.25}
    assert evaluate(nn.Identity(), probes) == expected
