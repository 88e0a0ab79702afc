"""What methods inherit: histories that add, no work, a memory that is none."""

import pytest
import torch
from torch import nn

from antidote.core import History, Memo, Method, Samples, Work, everything

WORK = Work("importances", {}, "importances")
NET, LOADER = nn.Linear(1, 2), everything(Samples(torch.zeros(1, 1), torch.zeros(1)))


def test_histories_add_step_by_step_and_number_by_number():
    one = History([{"loss": 1.0}], 10, 0.5, {"tries": 3})
    both = one + History([{"loss": 2.0}, {"loss": 3.0}], 20, 0.25)
    assert both == History([{"loss": 1.0}, {"loss": 2.0}, {"loss": 3.0}], 30, 0.75, {"tries": 3})


def test_the_search_of_a_sum_is_the_last_one():
    first, last = History(search={"tries": 3}), History(search={"tries": 4})
    assert (first + last).search == {"tries": 4}


def test_adding_leaves_both_histories_as_they_were():
    one, other = History([{"loss": 1.0}], 1), History([{"loss": 2.0}], 2)
    assert (one + other).sample_gradients == 3
    assert (one, other) == (History([{"loss": 1.0}], 1), History([{"loss": 2.0}], 2))


def test_a_history_that_says_nothing_adds_nothing():
    one = History([{"loss": 1.0}], 10, 0.5, {"tries": 3})
    assert one + History() == one == History() + one


class Idle(Method):
    def unlearn(self, victim, split):
        return History()


def test_a_method_takes_any_net_has_no_work_to_count_and_needs_known_poison_unless_it_says_so():
    method = Idle()
    assert method.needs_known
    assert method.check(NET) is None
    assert list(method.work()) == []


def test_a_method_that_cannot_unlearn_is_none():
    with pytest.raises(TypeError, match="unlearn"):
        type("Empty", (Method,), {})()


def test_a_memo_computes_each_time_and_spares_nothing():
    counted = []

    def compute():
        counted.append(1)
        return {"w": torch.tensor(float(len(counted)))}

    found = [Memo().tensors(WORK, NET, [LOADER], compute) for _ in range(2)]
    assert [(tensors["w"].item(), saved) for tensors, saved in found] == [(1.0, 0.0), (2.0, 0.0)]


def test_a_memo_forgets_tries():
    memo = Memo()
    for _ in range(2):
        tries, keep = memo.tries(WORK, NET, [LOADER])
        assert tries == {}
        keep({0: {"known_accuracy": 0.5}})
