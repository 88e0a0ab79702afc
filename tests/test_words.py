"""Python's values as Hydra's overrides have them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from antidote import BadInput
from antidote.door.words import axes, axis, value, words
from antidote.sweeps.change import parsed

SIMPLE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@given(SIMPLE | st.lists(SIMPLE) | st.lists(st.lists(SIMPLE)))
def test_a_value_is_read_as_it_was(thing):
    assert parsed(f"x={value(thing)}").value() == thing


@pytest.mark.parametrize(
    ("thing", "written"),
    [
        ("xlf_ptn", "xlf_ptn"),
        ("/tmp/a", "/tmp/a"),
        ("a b, c", "'a b, c'"),
        ("1", "'1'"),
        ("null", "'null'"),
        ({"a": [1, None]}, "{a:[1,null]}"),
        (np.float64(0.5), "0.5"),
        (torch.tensor(3), "3"),
        (range(3), "[0,1,2]"),
    ],
)
def test_a_value_looks_as_one_would_type_it(thing, written):
    assert value(thing) == written


def test_settings_come_after_overrides_and_nested_ones_by_their_path():
    said = words(["dataset=digits"], {"recipe": {"epochs": 2}, "model.net.width": 0.25})
    assert said == ["dataset=digits", "recipe.epochs=2", "model.net.width=0.25"]


def test_a_number_is_an_option_where_the_shell_takes_one():
    assert words(["poison_rate=0.03"], {"discovery": 7}) == ["poison_rate='0.03'", "discovery='7'"]


def test_in_a_sweep_a_list_is_an_axis():
    assert axes([], {"seed": [0, 1], "discovery.ids": [[3, 17], [5]], "cache": "off"}) == [
        "seed=0,1",
        "discovery.ids=[3,17],[5]",
        "cache=off",
    ]


def test_an_axis_without_values_is_refused():
    with pytest.raises(BadInput, match="no values"):
        axis([])


def test_what_is_no_setting_is_refused():
    with pytest.raises(BadInput, match="is no setting"):
        value(object())


def test_a_run_has_one_value_of_each():
    with pytest.raises(BadInput, match=r"antidote\.sweep"):
        words(["seed=0,1"], {})
