"""What lies under results/: scores as defined today, and a README that says what the tables say."""

import re
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

HERE = Path(__file__).parents[1] / "results"
FOLDERS = sorted(path.parent.name for path in HERE.glob("*/cells.csv"))
TABLES = runpy.run_path(str(HERE / "tables.py"), run_name="tables")
REBUILD = runpy.run_path(str(HERE / "rebuild.py"), run_name="rebuild")


def cells(name: str) -> pd.DataFrame:
    return pd.read_csv(HERE / name / "cells.csv", keep_default_na=True)


def told(heading: str) -> dict[str, list[str]]:
    """The first table below a heading of the README, by method."""
    text = (HERE / "README.md").read_text().split(f"## {heading}", 1)[1]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", text.split("\n## ")[0], re.MULTILINE)
    first: dict[str, list[str]] = {}
    for method, row in rows:
        first.setdefault(method, row.split(" | "))
    return first


@pytest.mark.parametrize("name", REBUILD["NOTES"])  # those of an earlier definition
def test_rebuilding_changes_no_figure(name):
    before = cells(name)
    after = REBUILD["recomputed"](REBUILD["read"](name))
    numbers = before.select_dtypes("number").columns
    pd.testing.assert_frame_equal(before[numbers], after[numbers].astype(before[numbers].dtypes))


@pytest.mark.parametrize("name", ["potion_small", "methods_small"])
def test_the_target_class_is_in_a_as_in_c(name):
    table = cells(name)
    assert set(table["healed_definition"]) == {"target class in A as in C"}
    after, before = table["healed_raw"], table["harmed_accuracy_before"]
    healed = (after - before) / (table["clean_accuracy_before"] - before)
    np.testing.assert_allclose(table["healed"], healed, atol=1e-12)
    # the nine other classes are nine tenths of the test images
    target = 10 * after - 9 * table["others_accuracy"]
    assert target.between(-1e-9, 1 + 1e-9).all()
    target = 10 * before - 9 * table["others_accuracy_before"]
    assert target.between(-1e-9, 1 + 1e-9).all()


def test_healed_is_none_where_the_attack_took_less_than_a_point():
    for name in FOLDERS:
        if name.startswith("fails_"):
            continue  # attacks with verdicts of their own
        table = cells(name)
        taken = table["clean_accuracy_before"] - table["harmed_accuracy_before"]
        assert (table["healed"].isna() == (taken < 0.01)).all()
        expected = table["healed"].fillna(0) - table["accuracy_drop"]
        np.testing.assert_allclose(table["objective"], expected, atol=1e-12)


def test_the_goal_of_tracing_is_reached_as_the_readme_says():
    """From one known sample on: 99 % healed for 0.2 points in the mean, no cell below 95 % / 1."""
    table = cells("traced_small").query("tracing == 'features'")
    for method in ("relabel", "restamp"):
        part = table[table["method"] == method]
        assert part["healed"].mean() >= 0.99
        assert part["healed"].min() >= 0.95
        assert part["accuracy_drop"].mean() <= 0.002
        assert part["accuracy_drop"].max() <= 0.01


@pytest.mark.parametrize(
    ("heading", "name", "poison"),
    [
        ("Potion's benchmark", "potion_small", "badnets"),
        ("The other methods", "methods_small", "badnets"),
        ("Corrective Machine Unlearning's: interclass", "corrective_small", "interclass"),
        ("Corrective Machine Unlearning's: swapped", "corrective_small", "label_noise"),
    ],
)
def test_the_readme_says_what_the_tables_say(heading, name, poison):
    methods = pd.read_csv(HERE / name / "methods.csv").query("poison == @poison")
    rows = told(heading)
    assert set(rows) == set(methods["method"])
    for _, mean in methods.iterrows():
        healed, lost, success, _ = rows[mean["method"]]
        if pd.isna(mean["healed"]):
            assert healed == "-"
        else:
            assert float(healed.removesuffix(" %")) == pytest.approx(
                100 * mean["healed"], abs=0.051
            )
        assert float(lost) == pytest.approx(100 * mean["accuracy_drop"], abs=0.051)
        assert float(success.removesuffix(" %")) == pytest.approx(
            100 * mean["attack_success"], abs=0.051
        )


def near(told: str, value: float, digits: int) -> bool:
    """Whether a figure is that value, rounded."""
    return abs(float(told.split()[0]) - value) <= 0.51 * 10**-digits


def figures(row: pd.Series) -> list[float]:
    return [100 * row[name] for name in ("healed", "accuracy_drop", "attack_success")]


def rows_of(text: str) -> list[list[str]]:
    """The cells of all tables' rows, headings and lines left out."""
    lines = [line.strip("| ") for line in text.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in f"| {line} |".split("|")[1:-1]] for line in lines]
    return [row for row in rows if set(row[0]) != {"-"}]


@pytest.mark.parametrize("number", range(len(TABLES["all_tables"]())))
def test_the_readme_has_the_tables_of_tracing(number):
    assert TABLES["all_tables"]()[number] in (HERE / "README.md").read_text()


def made(**columns) -> pd.DataFrame:
    """Two cells, of seeds 0 and 1."""
    return pd.DataFrame({"seed": [0, 1], **columns})


@pytest.mark.parametrize(
    ("rows", "recall", "precision", "said"),
    [
        ([5, 9], [0.5, 1.0], [1.0, 0.5], "75 / 75 %"),
        ([0, 0], [0.0, 0.0], [None, None], "nothing"),
        ([0, 9], [0.0, 1.0], [None, 0.25], "nothing; 100 / 25 %"),
    ],
)
def test_recall_and_precision_are_means_or_told_seed_by_seed(rows, recall, precision, said):
    shares = {"tracing/recall": recall, "tracing/precision": precision}
    assert TABLES["shares"](made(**{"tracing/rows": rows}, **shares)) == said


def test_an_outcome_is_healed_points_lost_and_attack_success():
    left = {"accuracy_drop": [-0.01, 0.003], "attack_success": [0.0, 0.5]}
    assert TABLES["outcome"](made(healed=[0.5, 1.0], **left)) == "75.0 %, -0.4, 25.0 %"
    assert TABLES["outcome"](made(healed=[None, None], **left)) == "-, -0.4, 25.0 %"


@pytest.mark.parametrize(("method", "reached"), [("relabel", 11), ("restamp", 10)])
def test_the_aim_on_harder_attacks_is_reached_where_the_readme_says(method, reached):
    """What a net that never saw the poison has, 2 points above the floor, for half a point."""
    table = pd.concat(map(cells, ["traced_attacks_small", "traced_labels_small"]))
    table = table.query("tracing == 'features' and method == @method")
    names = ["recovered", "attack_success", "attack_success_floor", "accuracy_drop"]
    rows = table.groupby(["poison", "discovery"])[names].mean()
    whole, success = rows["recovered"] >= 1, rows["attack_success"]
    met = (success <= rows["attack_success_floor"] + 0.02) & (rows["accuracy_drop"] <= 0.005)
    assert len(rows) == 16
    assert (whole & met).sum() == reached
    missed = rows[~(whole & met)].drop("adaptive_blend")
    assert (missed["recovered"] > 0.995).all()


def compared(text: str, table: pd.DataFrame) -> None:
    """Rows of a README's table: three means without tracing, then three with; (worst cells)."""
    rows = [row for row in rows_of(text)[1:] if len(row) == 7]
    assert len(rows) >= 7
    for row in rows:
        for tracing, told in (("none", row[1:4]), ("features", row[4:7])):
            part = table[(table["method"] == row[0].strip("`")) & (table["tracing"] == tracing)]
            means = part.apply(figures, axis=1, result_type="expand").mean()
            for figure, value in zip(told, means, strict=True):
                assert near(figure.strip("*"), value, 1), (row[0], tracing)
            worst = [part["healed"].min(), part["accuracy_drop"].max()]
            for figure, value in zip(told, worst, strict=False):
                if "(" in figure:
                    assert near(figure.split("(")[1].rstrip(")"), 100 * value, 1), (row[0], tracing)


def test_the_readmes_say_of_traced_methods_what_the_tables_say():
    table = cells("traced_small").fillna({"tracing": "none"})
    text = (HERE / "README.md").read_text().split("## Tracing, then each method", 1)[1]
    compared(text.split("\n## ")[0], table)
    text = (HERE.parent / "README.md").read_text().split("## From one known sample", 1)[1]
    compared(text.split("\n## ")[0], table[table["discovery"] == "one"])


def test_the_readme_says_what_is_left_of_gaussian_poison():
    table = cells("fails_gaussian_small")
    table["budget"] = table["command"].str.extract(r"budget=(\w+)")
    text = (HERE / "README.md").read_text().split("## Gaussian poison, and what", 1)[1]
    rows = rows_of(text.split("\n## ")[0])[1:]
    assert {row[0].strip("`") for row in rows} == set(table["unlearning"])
    for name, *told in rows:
        part = table[table["unlearning"] == name.strip("`")]
        assert part["residual"].notna().all()
        for budget, left, lost in (("4pct", *told[:2]), ("10pct", *told[2:4])):
            here = part[(part["budget"] == budget) | (len(part) == 3)]
            assert len(here) == 3
            assert near(left, 100 * here["residual"].mean(), 0)
            low, high = left.split("(")[1].rstrip(")").split(" to ")
            assert near(low, 100 * here["residual"].min(), 0)
            assert near(high, 100 * here["residual"].max(), 0)
            assert near(lost, 100 * here["accuracy_drop"].mean(), 1)
        assert near(told[4], 100 * part["gus_tpr"].mean(), 1)
        assert near(told[5], 100 * part["membership_tpr"].mean(), 1)


def budgeted(name: str) -> pd.DataFrame:
    table = cells(name)
    return table.assign(budget=table["command"].str.extract(r"budget=(\w+)")[0])


def of_budget(table: pd.DataFrame, method: str, budget: str) -> pd.DataFrame:
    """A method's cells; what knows no budget has one for both."""
    mine = table[table["unlearning"] == method]
    return mine if method in ("none", "retrain") else mine[mine["budget"] == budget]


def test_the_readme_says_what_is_left_of_the_other_two_poisons():
    text = (HERE / "README.md").read_text().split("## Targeted and indiscriminate", 1)[1]
    targeted, rest = text.split("\n## ")[0].split("**Indiscriminate.**")
    hits, harm = budgeted("fails_targeted_small"), budgeted("fails_indiscriminate_small")
    hits = hits[hits["residual"].notna()]
    assert {row[0].strip("`") for row in rows_of(targeted)[1:]} == set(hits["unlearning"])
    for name, *told in rows_of(targeted)[1:]:
        for budget, still, lost in (("4pct", *told[:2]), ("10pct", *told[2:])):
            here = of_budget(hits, name.strip("`"), budget)
            assert len(here) == 6
            assert int(still) == here["residual"].sum()
            assert near(lost, 100 * here["accuracy_drop"].mean(), 1)
    assert {row[0].strip("`") for row in rows_of(rest)[1:]} == set(harm["unlearning"])
    for name, *told in rows_of(rest)[1:]:
        for budget, left, lost in (("4pct", *told[:2]), ("10pct", *told[2:])):
            here = of_budget(harm, name.strip("`"), budget)
            assert len(here) == 3
            ends = left.split("(")[1].rstrip(")").split(" to ")
            values = here["residual"].mean(), here["residual"].min(), here["residual"].max()
            for figure, value in zip((left, *ends), values, strict=True):
                assert near(figure, 100 * value, 0)
            assert near(lost, 100 * here["accuracy_drop"].mean(), 1)


@pytest.mark.parametrize(
    ("poison", "residual", "unmet", "said"),
    [
        ("gaussian", [1.0, 0.5], [None, None], "75 %, -0.4"),
        ("gaussian", [1.0, 0.5], [None, "PTN"], "75 % (†), -0.4"),
        ("gradient_canceling", [1.0, 0.5], ["PTN", "PTN"], "75 % †, -0.4"),
        ("gradient_matching", [1.0, 0.0], [None, None], "1 of 2, -0.4"),
    ],
)
def test_what_is_left_is_a_share_or_the_targets_still_hit(poison, residual, unmet, said):
    told = {"unmet": unmet, "accuracy_drop": [-0.01, 0.002], "chosen": ["lr=1", None]}
    table = made(poison=poison, residual=residual, **told)
    assert TABLES["left"](table) == said
    assert TABLES["left"](table[:0]) == "-"
    table["chosen"] = ["lr=1", "lr=2 (floor not met)"]
    assert TABLES["left"](table) == said.replace(",", " (‡),")


def test_victims_that_had_not_learned_the_poison_and_other_budgets_are_left_out():
    for poison, files in [*TABLES["CROSSED"].values(), *TABLES["CROSSED_ON_CLOTHES"].values()]:
        table = TABLES["learned"](files, poison)
        assert table["residual"].notna().all()
        assert set(table["poison"]) == {poison}
        victims = table.groupby("unlearning")["seed"].agg(lambda seeds: sorted(seeds))
        assert all(seeds == victims["none"] for seeds in victims)  # each once


FREE = ["none", "retrain", "ssd_ptn", "xlf_ptn", "relabel"]  # know no budget, or search beyond it


@pytest.mark.parametrize("name", [name for name in FOLDERS if name.startswith("fails_")])
def test_no_method_spent_more_than_its_budget(name):
    table = cells(name)
    budget = table["command"].str.extract(r"budget=(\d+)pct")[0].astype(float) / 100
    bound = ~table["unlearning"].isin(FREE)
    assert (table["compute_fraction"] <= budget + 1e-9)[bound].all()
