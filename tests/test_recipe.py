"""Length and learning rate of a training."""

from functools import partial

import pytest
import torch

from antidote.core import BadInput
from antidote.recipe import Recipe, warmup_linear

SGD = partial(torch.optim.SGD, lr=0.5)


def recipe(**length):
    return Recipe(SGD, warmup_linear, batch_size=512, **length)


def rates(total_steps, **shape):
    """Learning rates of steps 0, ..., total_steps, where 1 is the optimiser's own."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    schedule = warmup_linear(optimizer, total_steps, **shape)
    seen = []
    for _ in range(total_steps + 1):
        seen.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return seen


def test_the_first_rate_is_lr_over_w_plus_1():
    assert rates(400)[0] == pytest.approx(1 / 5)  # w = 400 / 100


def test_the_warm_up_is_a_line_that_reaches_lr_at_w():
    assert rates(400)[:5] == pytest.approx([1 / 5, 2 / 5, 3 / 5, 4 / 5, 1])


def test_the_rate_ends_at_a_fifth_of_lr_not_at_0():
    # 1 - (400 - 4) / (1.25 * 400) = 1 - 0.8 * 0.99 = 0.208
    assert rates(400)[400] == pytest.approx(0.208)


def test_after_the_warm_up_the_rate_falls_by_the_same_amount_each_step():
    falling = torch.tensor(rates(400)[4:], dtype=torch.float64)
    torch.testing.assert_close(falling.diff(), torch.full((396,), -1 / 500, dtype=torch.float64))


def test_the_papers_4000_iterations_last_step_has_0_2082_lr():
    assert rates(4000)[3999] == pytest.approx(0.2082)  # w = 40; 1 - 3959 / 5000


def test_a_training_too_short_for_a_warm_up_starts_at_lr():
    assert rates(99)[0] == 1.0  # w = int(0.99)


def test_warm_up_and_stretch_are_settings():
    # w = 5, T = 2 * 10: 1/6 at 0, 1 - (10 - 5) / 20 at the end
    seen = rates(10, warmup=0.5, stretch=2)
    assert (seen[0], seen[5], seen[10]) == pytest.approx((1 / 6, 1, 0.75))


def test_partial_batches_are_steps_too():
    assert recipe(epochs=3).total_steps(1000) == 6  # 512 + 488, three times


def test_full_batches_are_not_counted_twice():
    assert recipe(epochs=3).total_steps(1024) == 6


def test_a_last_batch_of_one_is_no_step():
    assert recipe(epochs=3).total_steps(1025) == 6  # 512 + 513
    assert recipe(epochs=3).total_steps(1) == 3  # but the only one is


def test_a_fraction_of_an_epoch_is_a_length():
    assert recipe(epochs=0.25).total_steps(2048) == 1


def test_the_shortest_training_is_one_step():
    assert recipe(epochs=0.01).total_steps(512) == 1


@pytest.mark.parametrize("samples", [1, 10**6])
def test_steps_do_not_depend_on_the_number_of_samples(samples):
    assert recipe(steps=4000).total_steps(samples) == 4000


@pytest.mark.parametrize("length", [{}, {"epochs": 1, "steps": 1}])
def test_epochs_and_steps_both_or_neither_are_refused(length):
    with pytest.raises(BadInput, match="give one of the two"):
        recipe(**length)


@pytest.mark.parametrize("length", [{"epochs": 0}, {"steps": 0}, {"epochs": -1}])
def test_a_training_of_no_length_is_refused(length):
    with pytest.raises(BadInput, match="trains nothing"):
        recipe(**length)


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(BadInput, match="batch_size=0"):
        Recipe(SGD, warmup_linear, batch_size=0, epochs=1)


def test_the_schedule_moves_each_step_over_the_given_steps():
    made = recipe(steps=1).optimizers([torch.zeros(1)], 400)
    assert made["lr_scheduler"]["interval"] == "step"
    assert made["lr_scheduler"]["scheduler"].get_last_lr() == [
        pytest.approx(0.5 / 5)
    ]  # lr / (w + 1)


def test_a_training_of_no_steps_can_have_a_one_cycle_schedule():
    one_cycle = partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.2)
    Recipe(SGD, one_cycle, batch_size=1, epochs=1).optimizers([torch.zeros(1)], 0)
