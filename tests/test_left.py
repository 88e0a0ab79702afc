"""The figure of what is left: every method against every attack."""

import pandas as pd
import pytest
from matplotlib.figure import Figure

from antidote.report.benchmark.left import SHOWN, glance, panel


def cell(poison="gaussian", defence="gd", residual=0.5, **more):
    about = {"dataset": "digits", "model": "resnet9", "setting": "", "rate": 0.02}
    told = {"poison": poison, "defence": defence, "residual": residual, "discovered": "100 %"}
    return {**about, **told, "unmet": "", **more}


def three(**more):
    return [cell(defence=d, **more) for d in ("none", "gd", "retrain")]


def test_a_panel_per_attack_and_rate():
    rows = [*three(), *three(poison="badnets"), *three(rate=0.01)]
    (picture,) = glance(pd.DataFrame(rows))
    assert len(picture.panels) == 3
    assert "n = 1" in picture.caption


@pytest.mark.parametrize(
    "rows",
    [
        three()[:2],  # two methods are told in words
        [*three(), cell(discovered="10 %")],  # the other figures go by discovery
        three(residual=float("nan")),
    ],
)
def test_none_where_it_would_say_nothing_or_too_much(rows):
    assert glance(pd.DataFrame(rows)) == []


def drawn(*values, defence="gd", marks=""):
    rows = pd.DataFrame(
        [{"defence": defence, "residual": list(values), "marks": marks, "hits": False}]
    )
    figure = Figure()
    panel(figure, rows, ["none", "gd"], "title")
    return figure.axes[0]


def test_the_mean_is_large_the_seeds_are_faint_and_the_interval_is_students():
    axis = drawn(0.2, 0.4, 0.6)
    seeds, between, mean = axis.lines[2:]
    assert list(seeds.get_xdata()) == [0.2, 0.4, 0.6]
    assert mean.get_xdata()[0] == pytest.approx(0.4)
    # t = 4.303 with two degrees of freedom, deviation 0.2, over the root of three
    half = 4.3027 * 0.2 / 3**0.5
    assert list(between.get_xdata()) == pytest.approx([0.4 - half, 0.4 + half], abs=1e-4)
    assert list(mean.get_ydata()) == [1]


def test_two_seeds_are_their_range_and_one_has_none():
    assert list(drawn(0.2, 0.6).lines[3].get_xdata()) == pytest.approx([0.2, 0.6])
    assert len(drawn(0.2).lines) == 4


def test_what_lies_beyond_is_written_where_it_leaves():
    (text,) = drawn(3.0).texts
    assert text.get_text() == "300 % ▸"
    assert text.get_position()[0] == SHOWN[1]
    assert drawn(-2.0).texts[0].get_text() == "◂ -200 %"
    assert drawn(0.5).texts[:] == []


def test_a_method_whose_assumption_does_not_hold_is_marked():
    assert [t.get_text() for t in drawn(0.5, marks="† (‡)").texts] == ["† (‡)"]
