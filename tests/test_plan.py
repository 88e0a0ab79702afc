"""What a plan counts, and that it finds what runs have left."""

import pytest
from sweeps import set_up

from antidote.engine import code
from antidote.engine.store import Store
from antidote.report.plan import Row, known, span, weight
from antidote.sweeps.grid import cells
from antidote.sweeps.past import Past
from antidote.sweeps.plan import plan_of
from antidote.sweeps.speed import Speed, speed
from antidote.task.plan import plan, rows

HARD = ["dataset.limit=null", "poison.rate=0.1", "discovery=50pct", "recipe.epochs=3"]
LEFT = ("victims", "importances, norm", "search paths", "measuring and files of cells")
# what `run` tells every run
AS_RUN = ["logger=none", "progress=false"]


def grid(*overrides):
    with set_up(*overrides):
        return cells()


def planned(*experiments, **changes):
    """The plan of these experiments' sweeps together."""
    more = [f"{key}={value}" for key, value in changes.items()]
    return plan_of([cell for e in experiments for cell in grid(f"experiment={e}", *more)])


def counted(plan):
    names = {name for name, _, _, _ in plan.needs}
    return {name: plan.count(name) for name in names}


def test_cells_that_differ_only_in_a_flag_they_do_not_use_are_one(tmp_path):
    smoke = planned("rho_grid_smoke", output=tmp_path)
    assert (smoke.jobs, len(smoke.states)) == (18, 2 + 2 * 2 * 3)
    assert counted(smoke) == {
        "victims": 1,
        "retrainings": 2,
        "importances, cross_entropy": 2,
        "importances, norm": 2,
        "search paths": 4,
    }
    assert smoke.read_off() == 12 - 4


@pytest.mark.slow
def test_methods_with_the_same_objective_share_importances(tmp_path):
    small = planned("potion_small", output=tmp_path)
    assert small.jobs == len(small.states) == 300
    # 2 seeds, 3 rates, 5 discoveries; SSD and ASSD, LFSSD and ALFSSD measure the same
    assert small.count("importances, cross_entropy") == 30
    assert small.count("importances, squared_norm") == 30
    assert small.count("victims") == 6
    assert small.count("search paths") == 5 * 30
    assert small.count("other trainings, Scrub") == 30


@pytest.mark.slow
def test_the_2112_runs_of_potions_script_are_6_victims_and_66_retrainings(tmp_path):
    grid = planned("rho_grid", "rho_grid_cifar100", output=tmp_path)
    assert grid.jobs == 2112
    assert counted(grid) == {
        "victims": 6,
        "retrainings": 66,
        "importances, cross_entropy": 66,
        "importances, squared_norm": 66,
        "importances, norm": 66,
        "search paths": 198,
    }
    assert len(grid.states) == 66 + 198 * 8
    assert grid.read_off() == 198 * 7


def test_ssds_grid_measures_each_pair_once_for_its_edits(tmp_path):
    grid = planned("ssd_grid_smoke", output=tmp_path)
    assert (grid.jobs, grid.count("importances, cross_entropy")) == (12, 2)


def test_poison_that_is_crafted_is_counted_with_the_net_it_is_crafted_against(tmp_path):
    grid = planned("fails_targeted_smoke", output=tmp_path)
    names = ("surrogates", "crafted poisons", "victims", "victims without poison", "retrainings")
    assert [grid.count(name) for name in names] == [1] * 5
    assert planned("fails_gaussian_smoke", output=tmp_path).count("surrogates") == 0


@pytest.fixture
def looked(small, tmp_path):
    """`looked(*overrides)` is the plan of one such cell, and its rows by name."""

    def looked(*overrides):
        past = Past(Store(tmp_path / "output/store"), tmp_path / "output")
        found = plan_of(grid(*small, *AS_RUN, f"output={tmp_path}/output", *overrides))
        return found, {row.name: row for row in rows(found, past)}

    return looked


def test_a_plan_finds_what_a_run_left(run, looked):
    _, before = looked(*HARD)
    assert [(before[n].left, before[n].untimed) for n in LEFT] == [(1, 1)] * 4
    run(*HARD)
    done, after = looked(*HARD)
    assert list(done.states.values()) == ["done"]
    assert not any(row.left for row in after.values())
    assert all(row.all for row in after.values())
    assert done.outdated == 0


def test_a_plan_finds_what_other_cells_share_with_a_run(run, looked):
    run(*HARD)
    other, off = looked(*HARD, "flags.rho=0.5")  # nothing of whose work is left
    assert list(other.states.values()) == ["missing"]
    assert [off[n].left for n in LEFT] == [0, 0, 0, 1]
    assert off["measuring and files of cells"].seconds > 0
    assert off["measuring and files of cells"].bytes > 10_000
    _, third = looked(*HARD, "discovery=30pct")  # the same victim, other importances
    assert [(third[n].left, third[n].untimed) for n in LEFT] == [(0, 0), (1, 0), (1, 0), (1, 0)]
    assert third["importances, norm"].seconds > 0  # as costly as before
    _, wide = looked(*HARD, "model.net.width=0.25")  # nothing is known of another net
    assert [wide[n].untimed for n in LEFT] == [1] * 4


def test_what_was_done_with_other_code_is_left_and_told(run, looked, monkeypatch):
    run("unlearning=none")
    real = code.code
    edited = lambda names: real(names) + "edited"  # noqa: E731
    monkeypatch.setattr("antidote.engine.cell.code", edited)
    found, _ = looked("unlearning=none")
    assert list(found.states.values()) == ["missing"]
    assert found.outdated == 1


def test_a_failed_cell_is_told_from_a_missing_one(run, looked):
    with pytest.raises(SystemExit):
        run("poison.target_class=99")
    found, _ = looked("poison.target_class=98,99")
    assert sorted(found.states.values()) == ["failed", "missing"]


def test_a_plan_fits_a_terminal_and_writes_nothing(tmp_path, capsys):
    with set_up("experiment=rho_grid_smoke", f"output={tmp_path}") as cfg:
        plan(cfg)
    printed = capsys.readouterr().out
    assert "18 jobs are 14 different cells: 0 done, 0 failed, 14 missing" in printed
    table = printed.split("18 jobs")[0]
    assert "…" not in table
    assert max(map(len, table.splitlines())) <= 100
    assert not list(tmp_path.iterdir())


def test_a_sum_says_of_how_many_terms_nothing_is_known():
    row = Row("work")
    for seconds in (60.0, None):
        row.add(True, seconds, 2e6)
    row.add(False, 60.0, 2e6)
    assert (row.all, row.left) == (3, 2)
    assert known(row.seconds, span, row.untimed) == "60.0 s + 1 ?"
    assert known(row.bytes, weight, row.unweighed) == "4.0 MB"
    assert known(0.0, span, 0) == "-"
    assert known(0.0, span, 2) == "?"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(3.0, "3.0 s"), (120.0, "2.0 min"), (7200.0, "2.0 h"), (4 * 86400.0, "4.0 d")],
)
def test_times_are_told_in_a_unit_that_fits(seconds, said):
    assert span(seconds) == said


TRACED = ["tracing=features", "tracing.other_labels=false", "ceiling=true", "unlearning=none"]
OF_TRACING = ("tracings, Features", "victims without poison")


def test_a_plan_counts_tracing_and_the_net_without_poison(run, looked):
    """Methods and seeds of methods share them."""
    before, table = looked(*HARD, *TRACED, "discovery=30pct,50pct")
    assert [before.count(name) for name in OF_TRACING] == [2, 1]
    assert [(table[n].left, table[n].untimed) for n in OF_TRACING] == [(2, 2), (1, 1)]
    run(*HARD, *TRACED)
    done, table = looked(*HARD, *TRACED, "discovery=30pct,50pct")
    assert sorted(done.states.values()) == ["done", "missing"]
    assert [(table[n].left, table[n].untimed) for n in OF_TRACING] == [(1, 0), (0, 0)]
    assert table["tracings, Features"].seconds > 0


def test_what_was_never_done_is_guessed_from_the_speed_here(small, tmp_path):
    """A hundredth of a second per sample gradient, 1,000 training and 100 test rows."""
    past = Past(Store(tmp_path / "output/store"), tmp_path / "output")
    wanted = [*small, *AS_RUN, f"output={tmp_path}/output", "recipe.epochs=3"]
    found = plan_of(grid(*wanted, "tracing=features", "unlearning=xlf_ptn,retrain,finetune"))
    asked = []

    def speed(cell):
        asked.append(cell)
        return Speed(0.01, 1000, 100)

    told = {row.name: row for row in rows(found, past, speed)}
    assert len(asked) == 1
    assert told["victims"].seconds == pytest.approx(30)
    assert told["retrainings"].seconds == pytest.approx(30)
    assert told["other trainings, FineTune"].seconds == pytest.approx(30 / 4)
    assert told["importances, norm"].seconds == pytest.approx(10)
    assert told["tracings, Features"].seconds == pytest.approx(10 / 3)
    assert told["measuring and files of cells"].seconds == pytest.approx(3 * 6 * 100 * 0.01 / 3)
    assert all(row.guessed and not row.untimed for row in told.values())


def test_the_speed_is_measured_and_nothing_is_kept(small, tmp_path):
    (cell,) = grid(*small, *AS_RUN, f"output={tmp_path}/output")
    found = speed(cell)
    assert found.seconds > 0
    assert (found.train, found.test) == (600, 359)
    assert not (tmp_path / "output").exists()


def test_where_there_are_no_data_there_is_no_guess(tmp_path, caplog):
    (cell,) = grid("dataset=cifar10", f"output={tmp_path}", f"dataset.folder={tmp_path}/no")
    assert speed(cell) is None
