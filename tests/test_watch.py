"""Numbers that are not finite end a loop soon, and nobody waits for each of them."""

import pytest
import torch
from waits import Waits

from antidote.core import Diverged, Watch


def watched(values):
    """How many of the values a loop has seen when it is ended."""
    watch = Watch()
    for seen, value in enumerate(values, 1):
        try:
            watch(torch.tensor(value), "the loss")
        except Diverged:
            return seen
    return None


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("place", "seen"), [(0, 50), (48, 50), (49, 50), (50, 100), (77, 100)])
def test_a_loop_is_ended_at_the_next_look(bad, place, seen):
    values = [1.0] * 200
    values[place] = bad
    assert Watch.EVERY == 50
    assert watched(values) == seen


def test_a_loop_of_finite_numbers_is_not_ended():
    assert watched([1.0, -2.0] * 100) is None


def test_what_came_after_the_last_look_is_seen_at_the_close():
    watch = Watch()
    watch(torch.tensor(float("nan")), "the loss")
    watch(torch.tensor(1.0), "the loss")
    with pytest.raises(Diverged, match="the loss is not finite; a lower learning rate"):
        watch.close()


def test_a_watch_that_saw_nothing_or_nothing_bad_closes():
    watch = Watch()
    watch.close()
    watch(torch.tensor([1.0, 2.0]), "the loss")
    watch.close()


def test_one_bad_number_among_many_is_enough():
    watch = Watch()
    watch(torch.tensor([1.0, float("inf")]), "importances")
    with pytest.raises(Diverged, match="importances"):
        watch.close()


def test_a_watched_loss_is_the_very_loss():
    loss = torch.tensor(2.0, requires_grad=True)
    assert Watch()(loss, "the loss") is loss


def test_a_number_is_fetched_once_in_fifty_calls(monkeypatch):
    waits, watch, one = Waits(monkeypatch), Watch(), torch.ones(3)
    for _ in range(49):
        watch(one, "the loss")
    assert waits.count == 0
    for _ in range(951):
        watch(one, "the loss")
    assert waits.count == 1000 // 50
