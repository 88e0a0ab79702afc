"""A method that is made for wrong labels says so where all known poison bears its true ones."""

import logging

import pandas as pd
import pytest
import torch

from antidote.core import Poison, Samples
from antidote.engine.stages import unmet
from antidote.metrics.score import Untouched
from antidote.report.benchmark.summary import marks
from antidote.unlearning.chain import Chain
from antidote.unlearning.none import Nothing

TRUE, WRONG = torch.tensor([0, 1, 0, 1]), torch.tensor([0, 1, 1, 1])


class Believes(Nothing):
    assumes_wrong_labels = True


def poison(labels):
    samples = Samples(torch.zeros(4, 1, 2, 2), labels)
    return Poison(samples, TRUE, torch.tensor([1, 2]), {}, Untouched("test/accuracy"))


@pytest.mark.parametrize(
    ("method", "labels", "known", "said"),
    [
        (Believes(), TRUE, [1, 2], True),
        (Believes(), WRONG, [1, 2], False),  # one is wrong, which is enough
        (Believes(), WRONG, [1], True),  # the wrong one is not known
        (Believes(), TRUE, [], False),
        (Nothing(), TRUE, [1, 2], False),
        (Chain(Nothing(), Believes()), TRUE, [1, 2], True),
    ],
)
def test_it_is_told_and_logged(method, labels, known, said, caplog):
    with caplog.at_level(logging.WARNING):
        text = unmet(method, poison(labels), torch.tensor(known, dtype=torch.int64))
    assert bool(text) == said
    assert bool(caplog.records) == said


def test_a_run_leaves_it_on_record(run):
    clean = ["poison=gaussian", "discovery=100pct"]
    assert run(*clean, "unlearning=xlf_ptn")["unmet"] == "wrong labels on the known poison"
    assert run(*clean, "unlearning=xlf")["unmet"] == ""
    assert run("poison=badnets", "unlearning=xlf_ptn")["unmet"] == ""


def test_a_mean_is_marked_by_whether_it_is_some_of_its_cells_or_all():
    """A single known sample of BadNets may be of the target class, and its label true."""
    assert marks(pd.DataFrame({"unmet": ["wrong labels"] * 2})) == "†"
    assert marks(pd.DataFrame({"unmet": ["", "wrong labels"]})) == "(†)"
    assert marks(pd.DataFrame({"unmet": ["", None]})) == ""
    assert marks(pd.DataFrame({"seed": [0]})) == ""
    wild = {"chosen": ["lr=1 (floor not met)", "lr=1"]}
    assert marks(pd.DataFrame(wild)) == "(‡)"
    assert marks(pd.DataFrame(wild | {"unmet": ["wrong labels"] * 2})[:1]) == "† ‡"
