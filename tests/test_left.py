"""The figure of what is left: every method against every attack."""

import pandas as pd
import pytest
from matplotlib.figure import Figure

from antidote.report.benchmark.left import SHOWN, glance, panel, single, spread


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


def drawn(*values, defence="gd", unmet=False):
    rows = pd.DataFrame(
        [{"defence": defence, "residual": list(values), "unmet": unmet, "single": False}]
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
    assert [t.get_text() for t in drawn(0.5, unmet=True).texts] == ["†"]


def test_single_targets_have_wilsons_interval():
    """One of four: (0.046, 0.699), by hand from z = 1.96."""
    assert spread([1.0, 0.0, 0.0, 0.0], single=True) == pytest.approx((0.0456, 0.6994), abs=1e-4)
    assert spread([1.0, 1.0, 1.0], single=False) == (1.0, 1.0)  # no unlearning leaves all
    assert spread([0.5, 0.7], single=False) == (0.5, 0.7)


@pytest.mark.parametrize(("targets", "said"), [([1, 1], True), ([1, 2], False), ([4, 4], False)])
def test_a_run_with_several_targets_has_shares(targets, said):
    assert single(pd.DataFrame({"n_targets": targets})) == said
    assert not single(pd.DataFrame({"seed": targets}))
