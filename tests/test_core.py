"""Seeds of their own, and a net's answers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from antidote.core import (
    Diverged,
    Samples,
    accuracy,
    answers,
    derive,
    evaluating,
    everything,
    finite,
    generator,
)

DRAWS = st.text("ab /01", max_size=8)


@given(st.integers(0, 10**9), DRAWS, DRAWS)
def test_each_draw_has_a_seed_of_its_own(seed, one, other):
    assert (derive(seed, one) == derive(seed, other)) == (one == other)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_each_seed_gives_another_draw(one, other):
    assert (derive(one, "poison") == derive(other, "poison")) == (one == other)


@given(st.integers(0, 10**9), DRAWS)
def test_a_generator_starts_from_the_derived_seed(seed, draw):
    assert generator(seed, draw).initial_seed() == derive(seed, draw) >= 0


def test_a_seed_is_the_same_in_each_process():
    # the first six bytes that `printf 0/poison | sha256sum` prints
    assert derive(0, "poison") == int("05f1ab0b9fe9", 16)


class Threshold(nn.Module):
    """Answers 1 above 0; in training mode always 0."""

    def forward(self, x):
        positive = (x[:, 0] > 0) & (not self.training)
        return torch.stack([~positive, positive], dim=1).float()


LOADER = everything(
    Samples(torch.tensor([[-1.0], [2.0], [3.0], [-4.0]]), torch.tensor([0, 1, 0, 1])), batch_size=3
)


def test_answers_are_those_of_evaluation_mode_in_row_order():
    predicted, stored = answers(Threshold().train(), LOADER)
    assert (predicted.tolist(), stored.tolist()) == ([0, 1, 1, 0], [0, 1, 0, 1])


@pytest.mark.parametrize("training", [True, False])
def test_answering_puts_the_mode_back(training):
    net = nn.Sequential(Threshold()).train(training)
    answers(net, LOADER)
    assert net.training is net[0].training is training


def test_answering_does_not_move_batch_statistics():
    net = nn.BatchNorm1d(1).train()
    answers(net, LOADER)
    assert net.num_batches_tracked == 0


def test_a_part_that_was_frozen_stays_so_after_evaluating():
    net = nn.Sequential(nn.BatchNorm1d(1).eval(), nn.Sequential(nn.Dropout())).train(True)
    net[0].eval()
    with evaluating(net):
        assert not any(module.training for module in net.modules())
    assert [module.training for module in net.modules()] == [True, False, True, True]


def test_an_error_while_evaluating_leaves_the_mode_as_it_was():
    net = nn.Linear(3, 2).train()
    with pytest.raises(RuntimeError):
        answers(net, LOADER)
    assert net.training


def test_accuracy_is_the_share_of_answers_equal_to_the_stored_labels():
    assert accuracy(Threshold(), LOADER) == 0.5


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_never_taken_for_a_result(bad):
    with pytest.raises(Diverged, match="the loss is not finite"):
        finite(torch.tensor([1.0, bad]), "the loss")


def test_finite_numbers_pass():
    assert finite(torch.tensor([1.0, -2.0]), "the loss").tolist() == [1.0, -2.0]
