"""Measures on nets whose answers are known."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from antidote.core import Samples, everything
from antidote.metrics.accuracy import PlainAccuracy, TriggerSuccess

TRUTH = torch.tensor([0, 0, 1, 1, 1, 2, 3, 3, 3, 3])
# a sample is its own class
LOADER = everything(Samples(TRUTH.clone().unsqueeze(1).float(), TRUTH), batch_size=4)


class Answer(nn.Module):
    """Answers class k with `table[k]`."""

    def __init__(self, *table):
        super().__init__()
        self.table = torch.tensor(table)

    def forward(self, x):
        return F.one_hot(self.table[x[:, 0].long()], 4).float()


CONSTANT, PERFECT = Answer(0, 0, 0, 0), Answer(0, 1, 2, 3)


def test_a_constant_net_gives_in_to_the_trigger_always():
    # accuracy_all is the share of class 0, 2 of 10
    assert TriggerSuccess(0)(CONSTANT, LOADER) == {
        "accuracy": 0.0,
        "success": 1.0,
        "accuracy_all": pytest.approx(0.2),
    }


def test_a_perfect_net_never_gives_in_to_the_trigger():
    assert TriggerSuccess(0)(PERFECT, LOADER) == {
        "accuracy": 1.0,
        "success": 0.0,
        "accuracy_all": 1.0,
    }


def test_success_counts_only_images_of_other_classes():
    # class 1 (3 of the 8 images that are not of class 0) falls for it, class 0 itself is missed
    found = TriggerSuccess(0)(Answer(1, 0, 2, 3), LOADER)
    assert found == {
        "accuracy": pytest.approx(5 / 8),
        "success": pytest.approx(3 / 8),
        "accuracy_all": 0.5,
    }


def test_a_wrong_answer_that_is_not_the_target_is_no_success():
    # all answers 3, target 0: nothing falls for it, 4 of 8 are right
    assert TriggerSuccess(0)(Answer(3, 3, 3, 3), LOADER) == {
        "accuracy": 0.5,
        "success": 0.0,
        "accuracy_all": pytest.approx(0.4),
    }


def test_the_target_class_is_a_setting():
    # target 3: of the other six, none is answered 3 by the constant net and two are right
    assert TriggerSuccess(3)(CONSTANT, LOADER)["success"] == 0.0
    assert TriggerSuccess(3)(CONSTANT, LOADER)["accuracy"] == pytest.approx(2 / 6)


def test_plain_accuracy_counts_all_rows_alike():
    # 1 is taken for 2: 7 of 10 right, while the mean over classes would be 3/4
    assert PlainAccuracy(4)(Answer(0, 2, 2, 3), LOADER)["accuracy"] == pytest.approx(0.7)


def test_plain_accuracy_is_given_per_true_class():
    found = PlainAccuracy(4)(Answer(0, 2, 2, 3), LOADER)
    assert [found[f"class_accuracy/{k}"] for k in range(4)] == [1.0, 0.0, 1.0, 1.0]


def test_a_class_half_right_has_half_the_accuracy():
    # the answers are 0, 1, 1
    loader = everything(Samples(torch.tensor([[0.0], [1.0], [1.0]]), torch.tensor([0, 0, 1])))
    assert PlainAccuracy(2)(PERFECT, loader)["class_accuracy/0"] == 0.5


def test_a_class_without_rows_has_accuracy_0():
    assert PlainAccuracy(5)(PERFECT, LOADER)["class_accuracy/4"] == 0.0
