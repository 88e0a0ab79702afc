"""In which order cells begin: whoever makes what others need goes first."""

from hypothesis import given
from hypothesis import strategies as st
from sweeps import set_up, sweep

from antidote.sweeps.grid import cells
from antidote.sweeps.order import makers_first, order, work

DIGITS = ["dataset=digits", "dataset.limit=600", "model.net.width=0.125", "threads=1"]
PIECES = st.lists(st.lists(st.sampled_from("abcdef"), max_size=4, unique=True), max_size=12)


def test_one_cell_of_each_victim_goes_first():
    grid = [["v0"], ["v0"], ["v0"], ["v1"], ["v1"], ["v2"], ["v2"]]
    assert makers_first(grid) == [0, 3, 5, 1, 2, 4, 6]


def test_then_one_for_each_other_piece_that_is_shared():
    grid = [["v"], ["v", "importances"], ["v", "importances"], ["v", "others"], ["v", "others"]]
    assert makers_first(grid) == [0, 1, 3, 2, 4]


def test_what_nobody_shares_changes_nothing():
    assert makers_first([["v", "mine"], ["w", "yours"], [], ["x"]]) == [0, 1, 2, 3]


@given(PIECES)
def test_every_cell_begins_once(needs):
    assert sorted(makers_first(needs)) == list(range(len(needs)))


@given(PIECES, st.data())
def test_no_cell_of_the_last_ones_is_the_first_to_need_what_is_shared(needs, data):
    """Whatever the number of workers: all that the last ones share was begun by others before."""
    found = makers_first(needs)
    met: set[str] = set()
    makers = []
    for i in found:
        makers.append(any(sum(p in n for n in needs) > 1 and p not in met for p in needs[i]))
        met |= set(needs[i])
    assert makers == sorted(makers, reverse=True)


def test_cells_of_a_grid_are_spread_over_its_victims():
    with set_up(*DIGITS, "seed=0,1", "discovery=10pct,50pct", "unlearning=none,ssd,assd"):
        found = cells()
    typed = [cell.overrides[-3:] for cell in found]
    first = [typed[i] for i in order(found)]
    assert [o[0] for o in first[:2]] == ["seed=0", "seed=1"]
    # SSD and ASSD share importances: one for each victim and known part
    assert {o[2] for o in first[2:6]} == {"unlearning=ssd"}
    assert first[6:] == [o for o in typed if o not in first[:6]]


def test_what_the_store_has_is_nobodys_to_make(tmp_path):
    said = [*DIGITS, "recipe.epochs=1", "seed=0,1"]
    sweep(tmp_path, *said)
    with set_up(*said, f"output={tmp_path}/output", f"data_folder={tmp_path}/data"):
        found = cells()
    assert [len(pieces) for pieces in work(found)] == [3, 3]  # importances, search and the cell
    assert order(found) == [0, 1]


def test_a_cell_that_cannot_be_built_does_not_keep_the_others_from_being_ordered():
    with set_up(*DIGITS, "unlearning=none,xlf", "poison.size=3,wide", "seed=0,1"):
        found = cells()
    assert sorted(order(found)) == list(range(8))
