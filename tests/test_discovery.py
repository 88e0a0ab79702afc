"""Which poison is found: nested draws, and ids that somebody brings."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from antidote.core import BadInput
from antidote.discovery import Discovery, Suspects


def discover(n, share=None, count=None, exclude=False, seed=0, wrong=None):
    """Known and unknown of the rows 10, 13, 16, ..."""
    rows = 10 + 3 * torch.arange(n)
    wrong = torch.ones(n, dtype=torch.bool) if wrong is None else torch.tensor(wrong)
    known, unknown = Discovery(share, count, exclude, seed)(rows, wrong, None)
    return known.tolist(), unknown.tolist()


@given(st.integers(1, 300), st.integers(0, 10**6), st.floats(0.001, 1), st.floats(0.001, 1))
def test_what_a_smaller_share_finds_a_larger_one_finds_too(n, seed, one, other):
    small, large = (set(discover(n, share, seed=seed)[0]) for share in sorted((one, other)))
    assert small <= large


@given(st.integers(20, 300), st.integers(0, 10**6))
def test_a_tenth_is_inside_a_half_is_inside_all(n, seed):
    tenth, half, everything = (set(discover(n, share, seed=seed)[0]) for share in (0.1, 0.5, 1.0))
    assert tenth < half < everything


@given(st.integers(1, 100), st.integers(0, 10**6), st.floats(0.001, 1))
def test_known_and_unknown_are_all_of_the_poison_and_disjoint(n, seed, share):
    known, unknown = discover(n, share, seed=seed)
    assert sorted(known + unknown) == [10 + 3 * i for i in range(n)]


@given(st.integers(1, 100), st.floats(0.001, 1))
def test_known_and_unknown_are_sorted(n, share):
    known, unknown = discover(n, share)
    assert (known, unknown) == (sorted(known), sorted(unknown))


@pytest.mark.parametrize(
    ("n", "share", "found"), [(50, 0.1, 5), (14, 0.1, 1), (16, 0.1, 2), (3, 0.01, 1), (7, 1.0, 7)]
)
def test_a_share_is_rounded_to_whole_samples_and_to_at_least_one(n, share, found):
    assert len(discover(n, share)[0]) == found


def test_a_count_is_taken_as_it_is():
    assert len(discover(50, count=7)[0]) == 7


def test_a_count_and_a_share_of_the_same_size_find_the_same():
    assert discover(50, count=5) == discover(50, share=0.1)


def test_another_seed_finds_other_samples():
    assert discover(100, 0.1) != discover(100, 0.1, seed=1)


def test_more_than_all_poison_is_refused():
    with pytest.raises(BadInput, match="asks for 6 known samples but only 5"):
        discover(5, count=6)


@pytest.mark.parametrize("share", [0, -0.5, 1.001])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(BadInput, match=r"is not in \(0, 1\]"):
        discover(5, share)


def test_a_count_of_0_is_refused():
    with pytest.raises(BadInput, match="count=0"):
        discover(5, count=0)


@pytest.mark.parametrize("both", [{}, {"share": 0.5, "count": 2}])
def test_share_and_count_both_or_neither_are_refused(both):
    with pytest.raises(BadInput, match="give one of the two"):
        discover(5, **both)


def test_without_poison_nothing_is_found():
    assert discover(0, 0.5) == ([], [])


@given(st.lists(st.booleans(), min_size=2, max_size=60), st.integers(0, 10**6))
def test_correct_labels_are_never_found_if_they_are_excluded(wrong, seed):
    wrong = [True, *wrong]
    known, _ = discover(len(wrong), count=sum(wrong), exclude=True, seed=seed, wrong=wrong)
    assert known == [10 + 3 * i for i, is_wrong in enumerate(wrong) if is_wrong]


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(0, 10**6))
def test_draws_of_wrong_labels_are_nested_too(wrong, seed):
    wrong = [True, True, *wrong]
    one, two = (
        set(discover(len(wrong), count=c, exclude=True, seed=seed, wrong=wrong)[0]) for c in (1, 2)
    )
    assert one < two


def test_asking_for_more_than_the_wrong_labels_is_refused_if_correct_ones_are_excluded():
    with pytest.raises(BadInput, match="only 2 poisoned ones can be found"):
        discover(3, count=3, exclude=True, wrong=[True, False, True])


def test_correct_labels_are_found_as_well_unless_they_are_excluded():
    assert len(discover(3, count=3, wrong=[True, False, True])[0]) == 3


def suspected(ids, poison=(2, 4, 6)):
    known, unknown = Suspects(list(ids))(
        torch.tensor(poison, dtype=torch.int64), torch.ones(len(poison)), None
    )
    return known.tolist(), unknown.tolist()


def test_suspects_are_the_ids_sorted_and_each_once():
    assert suspected([6, 3, 6, 0])[0] == [0, 3, 6]


def test_poison_that_is_not_suspected_stays_unknown():
    assert suspected([6, 3])[1] == [2, 4]


def test_suspects_need_no_known_poison():
    assert suspected([1, 2], poison=()) == ([1, 2], [])


@pytest.mark.parametrize("ids", [[], [3, -1]])
def test_ids_that_name_no_sample_are_refused(ids):
    with pytest.raises(BadInput, match=r"discovery\.ids"):
        Suspects(ids)
