"""What the report computes: intervals, aggregates, Pareto front, names; on tables made by hand."""

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antidote.engine.labels import run_name
from antidote.metrics.table import UNITS, shown
from antidote.metrics.table import table as metrics
from antidote.report.benchmark import papers, tables
from antidote.report.benchmark.axes import file_name, reach
from antidote.report.benchmark.canvas import style
from antidote.report.benchmark.cells import failed, finished
from antidote.report.benchmark.curves import stands
from antidote.report.benchmark.page import half
from antidote.report.benchmark.setting import called, variants
from antidote.report.benchmark.summary import (
    aggregate,
    bounds,
    defended,
    front,
    had,
    interval,
    ordered,
    single,
    spread,
    summarise,
)
from antidote.report.benchmark.traces import discoveries, found
from antidote.report.words import in_order, look, option, percent, rate, seconds, short, word


def cell(**about) -> dict:
    """One row of the table of cells, all choices the same unless told."""
    numbers = dict.fromkeys(metrics(), math.nan)
    row = {
        "poison": "badnets",
        "dataset": "digits",
        "model": "resnet9",
        "recipe": "one_cycle",
        "rate": 0.01,
        "discovered": "10 %",
        "share": 0.1,
        "method": "xlf_ptn",
        "tracing": "none",
        "seed": 0,
        "width": 0.25,
        "setting": "",
        "params": {},
        **numbers,
        "attack_success_before": 1.0,
        "accuracy_drop": 0.0,
    }
    return row | about


def table(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame([cell(**row) for row in rows])


def test_the_interval_of_three_values_is_students():
    mean, half, n = interval([0.8, 0.9, 1.0])
    assert mean == pytest.approx(0.9)
    assert half == pytest.approx(4.302652730 * 0.1 / math.sqrt(3))
    assert n == 3


def test_the_interval_of_two_values_is_their_range():
    assert interval([0.2, 0.4]) == pytest.approx((0.3, 0.1, 2))


def test_one_value_has_no_interval():
    mean, half, n = interval([0.7])
    assert (mean, n) == (0.7, 1)
    assert math.isnan(half)


def test_values_that_are_not_defined_do_not_count():
    assert interval([0.2, math.nan, 0.4])[2] == 2
    mean, _, n = interval([math.nan])
    assert math.isnan(mean)
    assert n == 0


def test_a_group_is_averaged_over_its_seeds():
    cells = table({"seed": 0, "healed": 0.8}, {"seed": 1, "healed": 1.0})
    (row,) = summarise(cells).to_dict("records")
    assert row["healed"] == pytest.approx(0.9)
    assert row["healed_n"] == row["runs"] == 2


def test_a_method_is_averaged_over_cells_not_over_runs():
    cells = table(
        {"seed": 0, "healed": 0.0},
        {"seed": 1, "healed": 0.2},
        {"seed": 2, "healed": 0.4},
        {"rate": 0.02, "healed": 1.0},
    )
    (row,) = aggregate(cells).to_dict("records")
    assert row["healed"] == pytest.approx((0.2 + 1.0) / 2)
    assert (row["cells"], row["runs"]) == (2, 4)
    assert math.isnan(row["healed_half"])  # the seeds did not do the same cells


def test_an_aggregate_has_an_interval_if_every_seed_did_every_cell():
    cells = table(
        *(
            {"seed": s, "rate": r, "healed": h + r}
            for s, h in ((0, 0.2), (1, 0.4))
            for r in (0.01, 0.03)
        )
    )
    (row,) = aggregate(cells).to_dict("records")
    assert row["healed"] == pytest.approx(0.32)
    assert row["healed_half"] == pytest.approx(0.1)


HITS = [{"seed": s, "n_targets": 1.0, "attack_success": float(s == 2)} for s in range(4)]


def test_hits_and_misses_have_wilsons_bounds():
    """One of four: (0.046, 0.699), by hand from z = 1.96."""
    assert spread([1.0, 0.0, 0.0, math.nan, 0.0], hits=True) == pytest.approx(
        {"": 0.25, "_half": math.nan, "_low": 0.0456, "_high": 0.6994, "_n": 4},
        abs=1e-4,
        nan_ok=True,
    )
    for values, hits in (([1.0, 1.0, 1.0], False), ([0.5, 0.7], True)):
        assert spread(values, hits).keys() == {"", "_half", "_n"}  # shares


@pytest.mark.parametrize(("targets", "said"), [([1, 1], True), ([1, 2], False), ([4, 4], False)])
def test_a_run_with_several_targets_has_shares(targets, said):
    assert single(pd.DataFrame({"n_targets": targets})) == said
    assert not single(pd.DataFrame({"seed": targets}))


@pytest.mark.parametrize("means", [summarise, aggregate])
def test_targets_that_are_hit_or_missed_are_told_by_wilsons_bounds(means):
    metric = metrics()["attack_success"]
    (row,) = means(table(*HITS)).to_dict("records")
    assert half(row, metric) == "5 to 70"
    assert tables.figure(pd.Series(row), metric) == "25.00 (5 to 70)"
    assert half(row, metrics()["accuracy_drop"]) == "± 0.0"
    low, high = bounds(means(table(*HITS)), "attack_success")
    assert (low.item(), high.item()) == pytest.approx((0.0456, 0.6994), abs=1e-4)


def test_a_target_that_the_attack_missed_has_nothing_to_heal_and_the_others_keep_their_bounds():
    missed = {"seed": 4, "n_targets": 1.0, "attack_success": 0.0}
    (row,) = aggregate(table(*({"healed": 1.0} | hit for hit in HITS), missed)).to_dict("records")
    assert half(row, metrics()["healed"]) == "51 to 100"  # four of four


def test_bounds_are_the_mean_and_half_a_width_to_each_side_where_there_is_no_hit():
    cells = table({"seed": 0, "healed": 0.2}, {"seed": 1, "healed": 0.4})
    low, high = bounds(summarise(cells), "healed")
    assert (low.item(), high.item()) == pytest.approx((0.2, 0.4))


def test_cells_whose_attack_was_not_learned_stay_in_the_means_and_are_counted():
    cells = table(
        {"seed": 0, "healed": 0.5},
        {"seed": 1, "healed": 0.1, "attack_success_before": 0.3},
        {"seed": 2, "attack_success_before": 0.0},
    )
    (row,) = summarise(cells).to_dict("records")
    assert row["healed"] == pytest.approx(0.3)
    assert (row["healed_n"], row["runs"], row["attack_not_learned"]) == (2, 3, 2)


def test_the_front_is_what_nothing_beats():
    points = {
        "none": (0.0, 0.0),
        "cheap": (0.01, 0.5),
        "worse": (0.02, 0.4),
        "dear": (0.05, 0.9),
        "same drop, less": (0.05, 0.8),
        "twin": (0.05, 0.9),
        "undefined": (math.nan, 1.0),
    }
    assert front(points) == ["none", "cheap", "dear", "twin"]


def beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] <= b[0] and a[1] >= b[1] and a != b


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), max_size=12))
def test_no_point_beats_one_of_the_front_and_each_other_point_is_beaten(points):
    numbered = dict(enumerate(points))
    best = set(front(numbered))
    for key, point in numbered.items():
        assert (key in best) != any(beats(other, point) for other in points)


def test_what_differs_besides_the_choices_is_never_averaged_over():
    wide = {"params": {"model.net.width": "0.5", "seed": "0"}}
    slim = {"params": {"model.net.width": "0.25", "seed": "1"}, "rate": 0.02}
    told = variants(table(wide, slim, slim | {"rate": 0.01}))
    assert list(told["setting"]) == ["width 0.5", "width 0.25", "width 0.25"]
    assert list(told["other_setting"]) == ["", "", ""]


def test_a_methods_own_parameter_goes_to_its_name_and_to_no_other_method():
    rows = [{"method": "xlf_ptn", "params": {"unlearning.rho": rho}} for rho in ("0.1", "0.2")]
    told = variants(table(*rows, {"method": "retrain", "params": {}}))
    assert list(told["method"]) == ["xlf_ptn, rho 0.1", "xlf_ptn, rho 0.2", "retrain"]
    assert set(told["setting"]) == {""}
    assert look("xlf_ptn, rho 0.1")["colour"] == look("xlf_ptn")["colour"]


def test_seeds_and_what_led_to_the_rate_are_no_setting():
    rows = [
        {"params": {"seed": str(i), "poison.seed": str(i), "poison_rate": str(i)}} for i in range(2)
    ]
    assert list(variants(table(*rows))["setting"]) == ["", ""]


def test_long_settings_are_told_in_short_and_stay_different():
    rows = [{"params": {"discovery.ids": "1, " * 1400 + end}} for end in ("7", "8")]
    told = list(variants(table(*rows))["setting"])
    assert len(set(told)) == 2
    assert max(map(len, told)) < 80


def test_cells_of_one_long_setting_are_one():
    rows = [{"params": {"discovery.ids": "1, " * 1400}, "seed": i} for i in range(2)]
    assert list(variants(table(*rows))["setting"]) == ["", ""]


@given(st.text(max_size=200), st.text(max_size=200))
def test_short_is_short_and_no_two_values_look_alike(a, b):
    assert len(short(a)) <= 60
    assert (short(a) == short(b)) == (a == b)


def test_parameters_that_differ_together_are_told_once():
    rows = [{"params": {"recipe.epochs": e, "unlearning.recipe.epochs": e}} for e in ("1", "2")]
    told = variants(table(*rows))
    assert list(told["setting"]) == ["epochs 1", "epochs 2"]
    assert set(told["method"]) == {"xlf_ptn"}


def test_only_the_newest_result_of_a_cell_counts_and_no_failure_beside_it():
    records = pd.DataFrame(
        {
            "config_hash": ["a", "a", "a", "b", "b", "c"],
            "status": ["ok", "ok", "failed", "failed", "failed", "failed"],
            "id": list("123456"),
        }
    )
    assert list(finished(records)["id"]) == ["2"]
    assert list(failed(records)["id"]) == ["5", "6"]


def test_a_metric_that_no_record_has_is_a_column_of_nothing():
    records = pd.DataFrame({"config_hash": ["a"], "status": ["ok"], "healed": [None]})
    done = finished(records)
    assert set(metrics()) <= set(done)
    assert done["healed"].isna().all()
    assert done["healed"].dtype == done["attack_success"].dtype == float


def test_each_metric_has_a_known_unit_and_place():
    places = {"run", "sweep", "cells", "summary", "page", "each", "latex", "papers"}
    for metric in metrics().values():
        assert metric.unit in UNITS
        assert set(metric.shown) <= places
    for place in ("page", "latex", "papers"):  # they show means
        assert set(shown(place)) <= set(shown("summary"))


def test_places_have_files_of_their_own():
    long = ["badnets", "digits", "resnet9", "x" * 90]
    alike = [["a", "b", "c", "lr 0.1, k 2"], ["a", "b", "c", "lr 0.1; k 2"]]
    names = [file_name(p) for p in (long, [*long[:3], "x" * 91], *alike)]
    assert len(set(names)) == 4
    assert max(map(len, names)) <= 80
    assert file_name(["badnets", "digits", "resnet9", ""]) == "badnets_digits_resnet9"


def test_one_sample_stands_left_of_ten_percent():
    rows = table({"discovered": "one sample", "share": math.nan}, {"share": 0.1})
    at = stands(rows)
    assert at["10 %"] == pytest.approx(10)
    assert at["one sample"] < at["10 %"]


def test_limits_show_all_values_zero_and_full_recovery():
    low, high = reach(pd.Series([0.2, 0.9]), "healed")
    assert low < 0
    assert high > 1
    low, high = reach(pd.Series([-0.3, 0.9]), "accuracy_drop")
    assert low < -0.3
    assert high > 0.9


def test_tables_go_by_share_and_the_order_of_words():
    rows = table(
        {"method": "xlf_ptn", "discovered": "100 %", "share": 1.0},
        {"method": "none", "discovered": "20 %", "share": 0.2},
        {"method": "retrain", "discovered": "one sample", "share": math.nan},
        {"method": "none", "discovered": "one sample", "share": math.nan},
    )
    told = ordered(rows)
    assert list(told["discovered"]) == ["one sample", "one sample", "20 %", "100 %"]
    assert list(told["method"])[:2] == ["none", "retrain"]


def test_a_method_nobody_told_the_report_of_has_a_look_and_comes_last():
    assert look("brand_new")["label"] == "brand new"
    assert in_order(["brand_new", "xlf_ptn", "none"]) == ["none", "xlf_ptn", "brand_new"]


def test_words_for_numbers():
    assert percent(0.9372, 2) == "93.72 %"
    assert percent(-0.00001) == "0.0 %"
    assert percent(math.nan) == "–"
    assert [seconds(s) for s in (0.00123, 12.34, 1234.5)] == ["0.001", "12.3", "1,234"]
    assert [rate(r) for r in (0.002, 0.05, math.nan, None)] == ["0.2 %", "5 %", "–", "–"]
    assert [word(w) for w in ("badnets", "30 %", "my_set")] == ["BadNets patch", "30 %", "my set"]


def test_limits_of_nothing_are_the_usual_ones():
    assert reach(pd.Series([math.nan]), "healed") == reach(pd.Series([0.5]), "healed")


def test_latex_has_booktabs_rules_and_escapes():
    cells = ordered(table({"healed": 0.5, "setting": "a_b & 5%"}))
    for text in (tables.methods_tex(aggregate(cells)), tables.summary_tex(summarise(cells))):
        for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
            assert text.count(rule) == 1
        assert r"a\_b \& 5\%" in text
        rows = [line for line in text.splitlines() if line.endswith(r"\\") and "&" in line]
        assert len({line.replace(r"\&", "").count("&") for line in rows}) == 1


def test_papers_stand_beside_the_same_poison_only():
    cells = table({"healed": 0.9, "params": {"dataset.limit": "600"}})
    (paper,) = papers.beside(cells, aggregate(cells))
    (row,) = paper["rows"]
    assert row["published"]["healed"] == 0.9372
    assert row["ours"]["healed"] == 0.9
    other = table({"poison": "interclass", "healed": 0.9})
    assert papers.beside(other, aggregate(other)) == []


def test_an_optional_metric_is_a_column_only_where_a_cell_has_it():
    without, having = table({"healed": 0.5}), table({"recovered": 0.5}, {})
    assert "recovered" not in summarise(without)
    assert "accuracy_drop" in summarise(without)  # empty as well, but not optional
    assert summarise(having)["recovered"].item() == aggregate(having)["recovered"].item() == 0.5
    told = {m.name for m in shown("cells", had(having)) if m.optional}
    assert "recovered" in told
    assert not told & {"tracing/recall", "gus"}
    assert shown("cells", had(having)) != shown("cells")


def test_each_tracer_is_a_method_by_itself():
    cells = table({"healed": 0.2}, {"healed": 0.8, "tracing": "features"})
    assert sorted(summarise(cells)["healed"]) == sorted(aggregate(cells)["healed"]) == [0.2, 0.8]


def test_a_traced_method_keeps_its_colour_and_has_another_line_and_filling():
    for method in ("none", "retrain_k", "xlf_ptn", "xlf", "project", "brand_new"):
        plain, *others = (
            style(method + t) for t in ("", "; traced", "; traced by fall", "; traced by new")
        )
        for other in others:
            assert other["color"] == plain["color"]
            assert other["linestyle"] != plain["linestyle"]
            assert (other["marker"], other["markeredgecolor"]) != (plain["marker"], "white")
        assert len({str(s) for s in (plain, *others[:2])}) == 3


def test_no_two_tracers_and_no_two_new_methods_look_alike():
    tracers = ["features", "fall", "influence", "spectral", "activation_clustering", "confidence"]
    looks = [style(f"xlf_ptn; traced by {t}") for t in tracers]
    for line in ({}, {"linestyle": ""}):  # points alone tell them apart as well
        assert len({str(look | line) for look in looks}) == len(tracers)
    new = ["relabel", "relabel_projection", "relabel_fresh", "relabel_method", "project"]
    new += ["restamp", "xlf_ptn_repair"]
    assert len({look(m)["colour"] for m in new}) == len(new)
    assert look("restamp")["label"] == "restamping"


def test_a_traced_method_is_called_by_its_tracer_if_there_are_several():
    one = defended(table({}, {"tracing": "features"}))
    assert [look(d)["label"] for d in one["defence"]] == ["XLF + PTN", "XLF + PTN, traced"]
    two = defended(
        table({"method": "xlf_ptn, rho 0.1", "tracing": "fall, gain 2"}, {"tracing": "x"})
    )
    assert [look(d)["label"] for d in two["defence"]] == [
        "XLF + PTN, rho 0.1, traced by fall of belief, gain 2",
        "XLF + PTN, traced by x",
    ]
    assert option(two["defence"].iloc[0]) == "xlf_ptn; traced by fall"


def test_a_traced_method_follows_its_plain_self():
    given = ["xlf_ptn; traced", "retrain; traced by x", "xlf_ptn", "retrain", "none"]
    given += ["retrain; traced by features", "xlf_ptn, rho 0.1"]
    assert in_order(given) == [
        "none",
        "retrain",
        "retrain; traced by features",
        "retrain; traced by x",
        "xlf_ptn",
        "xlf_ptn; traced",
        "xlf_ptn, rho 0.1",
    ]
    rows = table({"tracing": "brand_new"}, {"tracing": "spectral"}, {"tracing": "none"}, {})
    told = list(ordered(rows)["tracing"])
    assert told == ["none", "none", "spectral", "brand_new"]


def drawn(cells: pd.DataFrame) -> list[dict[str, dict[str, list]]]:
    """Of each panel of the figure of tracing, {colour: {line style: [heights]}}."""
    from matplotlib.figure import Figure

    panels = []
    for panel in found(cells)[0].panels:
        figure, lines = Figure(), {}
        panel(figure)
        for line in figure.axes[0].lines:
            kind = "recall" if line.get_linestyle() == "-" else "precision"
            lines.setdefault(line.get_color(), {})[kind] = list(line.get_ydata())
        panels.append(lines)
    return panels


def test_the_figure_of_tracing_averages_over_seeds_and_not_over_methods():
    def row(recall, **about):
        return {"tracing": "features", "tracing/recall": recall, "tracing/precision": 1.0} | about

    cells = table(
        row(0.2, method="relabel"),
        row(0.2),
        row(0.6, seed=1),
        row(1.0, discovered="50 %", share=0.5),
        row(0.4, rate=0.002),
        {"tracing/recall": 0.0},
    )
    (panel, other), (colour,) = drawn(cells), {c for p in drawn(cells) for c in p}
    assert panel[colour]["recall"] == pytest.approx([0.4, 1.0])
    assert panel[colour]["precision"] == pytest.approx([1.0, 1.0])
    assert other[colour]["recall"] == pytest.approx([0.4])
    assert discoveries(cells) == ["10 %", "50 %"]


def test_a_panel_is_an_attack_at_its_rate_and_a_colour_is_a_tracer():
    rows = [
        {"tracing": t, "poison": p, "rate": r, "tracing/recall": 0.5}
        for t in ("features", "fall")
        for p in ("badnets", "blended")
        for r in (0.002, 0.01)
    ]
    panels = drawn(table(*rows))
    assert [len(p) for p in panels] == [2] * 4
    (picture,) = found(table(*rows))
    told = [line.get_label() for line in picture.legend]
    assert told == ["features", "fall of belief", "recall", "precision"]
    assert found(table({"tracing": "features"}, {"tracing/recall": 0.5})) == []


def test_a_tracer_that_found_nothing_has_a_recall_and_no_precision():
    (panel,) = drawn(table({"tracing": "features", "tracing/recall": 0.0}))
    ((lines),) = panel.values()
    assert lines["recall"] == [0.0]
    assert math.isnan(lines["precision"][0])


def test_a_run_is_called_by_its_tracer():
    settings = {"seed": 0, "poison": {"rate": 0.01}, "discovery": {"share": 0.1}}
    choices = {"unlearning": "relabel", "discovery": "10pct", "poison": "badnets", "dataset": "d"}
    assert run_name(settings, choices) == "relabel 10 % badnets 1 % d seed 0"
    assert run_name(settings, choices | {"tracing": "none"}) == run_name(settings, choices)
    traced = run_name(settings, choices | {"tracing": "features"})
    assert traced == "relabel traced by features 10 % badnets 1 % d seed 0"


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("unlearning.rho", "rho"),
        ("unlearning.make.budget.share", "budget"),
        ("unlearning.cutoff.value", "cutoff"),
        ("tracing.share", "share"),
        ("dataset.limit", "limit"),
    ],
)
def test_a_setting_is_called_by_what_says_most(setting, told):
    assert called(setting) == told
