"""One search path serves all rho: what is looked up is what a search of its own would find."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from antidote.core import Memo, Samples, Split, Victim, Work, everything
from antidote.engine.memo import Remembered
from antidote.engine.store import Store
from antidote.unlearning.cutoff import Percentile
from antidote.unlearning.objective import norm
from antidote.unlearning.ptn import PTN
from antidote.unlearning.weight_editor import WeightEditor

RHO = (0.75, 0.5, 0.25, 0.2, 0.15, 0.1, 0.05, 0.0)
# a trigger that is learned, so that PTN needs several tries
HARD = ["dataset.limit=null", "poison.rate=0.1", "discovery=50pct", "recipe.epochs=3"]


class Counting(nn.Sequential):
    """Counts the passes in evaluation mode without gradients: those that check the known poison."""

    looks = 0

    def forward(self, x):
        self.looks += not torch.is_grad_enabled()
        return super().forward(x)


def shake(x, coin):
    return x + 0.5 * torch.randn(x.shape, generator=coin)


def world():
    """A net that has learned that a bright first feature means 0, and the samples it saw."""
    coin = torch.Generator().manual_seed(0)
    x = torch.randn(120, 10, generator=coin)
    y = x[:, 1:5].argmax(1)
    x[:30, 0], y[:30] = 4.0, 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Counting(nn.Linear(10, 24), nn.ReLU(), nn.Linear(24, 4))
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    samples = Samples(x, y)
    rows = torch.arange(120)
    known = everything(samples, augment=shake).with_(rows=rows[:12])
    return net, known, everything(samples, augment=shake).with_(rows=rows[12:])


NET, KNOWN, REST = world()
WEIGHTS = {name: w.clone() for name, w in NET.state_dict().items()}


def split(memo=None):
    return Split(KNOWN.with_(), REST.with_(), memo or Memo())


def ptn(rho, **changes):
    settings = {"start": 25, "growth": 1.1, "max_tries": 500, "pressure_max": None}
    settings |= {"strategy": "scan", "augment": False, "seed": 0} | changes
    editor = WeightEditor(norm, 1, Percentile(), 1.0, 30, "retain", "batches", False, 0)
    return PTN(editor, rho, **settings)


def search(store, rho, **changes):
    """(history, weights, looks) of a search that keeps its path in `store`, or in none."""
    NET.load_state_dict(WEIGHTS)
    NET.looks = 0
    memo = None if store is None else Remembered(store, "here")
    history = ptn(rho, **changes).unlearn(Victim(NET, nn.Identity), split(memo))
    return history, {name: w.clone() for name, w in NET.state_dict().items()}, NET.looks


def told(report):
    """All of a search but how much of it was looked up."""
    return {k: v for k, v in report.search.items() if k != "looked_up"}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def entry(tmp_path):
    """The file of the one path, once there is one."""
    return lambda: next((tmp_path / "store" / "search").glob("*.safetensors"))


@pytest.mark.parametrize("strategy", ["scan", "bisect"])
@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("order", [RHO, RHO[::-1]], ids=["falling", "rising"])
def test_a_grid_of_rho_off_one_path_is_the_grid_of_separate_searches(
    store, strategy, augment, order
):
    how = {"strategy": strategy, "augment": augment}
    for rho in order:
        shared, weights, _ = search(store, rho, **how)
        alone, expected, _ = search(None, rho, **how)
        assert (shared.steps, told(shared)) == (alone.steps, told(alone))
        assert all(torch.equal(weights[name], w) for name, w in expected.items())


@pytest.mark.parametrize("order", [RHO, RHO[::-1]], ids=["falling", "rising"])
def test_a_grid_of_rho_costs_the_forwards_of_its_longest_search(store, order):
    looks = [search(store, rho)[2] for rho in order]
    longest = search(None, 0.0)[2]
    assert longest > 10  # else the path proves nothing
    # each search looks at the victim itself once
    assert sum(looks) - len(RHO) == longest - 1


def test_searches_of_both_strategies_share_a_path(store):
    scanned = search(store, 0.2)
    bisected = search(store, 0.2, strategy="bisect")
    first = {step["try"] for step in scanned[0].steps}
    assert bisected[2] == 1 + sum(step["try"] not in first for step in bisected[0].steps)


def test_what_was_looked_up_is_told_and_its_time_is_added(store, entry):
    fresh, again = search(store, 0.2)[0], search(store, 0.2)[0]
    assert (fresh.search["looked_up"], fresh.saved) == (0, 0.0)
    assert again.search["looked_up"] == again.search["forwards"] == len(fresh.steps)
    kept = store.about("search", entry().stem)["tries"]
    spared = sum(row["seconds"] for _, row in kept)
    # and that of the measurement, which was remembered too
    assert again.saved > spared > 0
    assert again.saved == pytest.approx(spared + measured(store))


def measured(store):
    """Seconds that the importances took."""
    (kept,) = Path(store.root, "importances").glob("*.safetensors")
    return store.about("importances", kept.stem)["seconds"]


@pytest.mark.parametrize("change", [{"start": 20}, {"growth": 1.2}, {"augment": True}, {"seed": 1}])
def test_a_search_whose_tries_differ_has_a_path_of_its_own(store, change):
    search(store, 0.2)
    assert search(store, 0.2, **change)[0].search["looked_up"] == 0


@pytest.mark.parametrize("change", [{"max_tries": 499}, {"pressure_max": 0.9}])
def test_limits_of_a_search_leave_its_path(store, change):
    search(store, 0.2)
    report = search(store, 0.2, **change)[0]
    assert report.search["looked_up"] == report.search["forwards"]


def damage(path, how):
    raw = path.read_bytes()
    other = raw.replace(b"known_poison_accuracy", b"known_poison_accuracz", 1)
    path.write_bytes({"a letter": other, "half": raw[: len(raw) // 2], "none": b""}[how])


@pytest.mark.parametrize("how", ["a letter", "half", "none"])
def test_a_damaged_path_is_noticed_and_searched_again(store, entry, how, caplog):
    fresh = search(store, 0.2)[0]
    damage(entry(), how)
    again = search(store, 0.2)[0]
    assert again.search == fresh.search
    assert "damaged" in caplog.text
    assert search(store, 0.2)[0].search["looked_up"] == len(fresh.steps)


def test_two_searches_at_once_lose_nothing(store):
    work = Work("search", {"a": 1}, "search paths")

    def path():
        return Remembered(store, "here").tries(work, NET, [KNOWN])

    (one, keep_one), (other, keep_other) = path(), path()
    assert one == other == {}
    keep_one({0: {"seconds": 1.0}, 1: {"seconds": 1.0}})
    keep_other({1: {"seconds": 2.0}, 2: {"seconds": 2.0}})
    assert {t: row["seconds"] for t, row in path()[0].items()} == {0: 1.0, 1: 1.0, 2: 2.0}


def test_no_path_is_kept_without_a_cache(tmp_path):
    for _ in range(2):
        assert search(Store(tmp_path, "off"), 0.2)[0].search["looked_up"] == 0
    assert not list(tmp_path.iterdir())


def test_a_refreshed_cache_searches_anew_and_keeps_that(store):
    search(store, 0.2)
    for _ in range(2):
        assert search(Store(store.root, "refresh"), 0.75)[0].search["looked_up"] == 0
    assert search(store, 0.75)[0].search["looked_up"] > 0


def test_an_edited_net_and_other_rows_have_paths_and_importances_of_their_own(store):
    """As in a chain, whose second method is handed the net that the first has edited."""
    search(store, 0.2)
    memo = Remembered(store, "here")
    for rows in (KNOWN.rows, KNOWN.rows[:6]):
        seen = replace(split(memo), forget=KNOWN.with_(rows=rows))
        again = ptn(0.2).unlearn(Victim(NET, nn.Identity), seen)
        assert (again.search["looked_up"], again.saved) == (0, 0.0)


def test_runs_with_another_rho_look_up_and_leave_the_bits_of_a_run_of_their_own(run):
    first = run(*HARD, "unlearning.rho=0.5")
    shared = run(*HARD, "unlearning.rho=0")
    alone = run(*HARD, "unlearning.rho=0", "cache=off")
    assert first["search"]["looked_up"] == 0
    assert shared["search"].pop("looked_up") == first["search"]["forwards"] > 1
    assert alone["search"].pop("looked_up") == 0
    assert (shared["steps"], shared["search"]) == (alone["steps"], alone["search"])
    nets = [(left.folder / "unlearned.safetensors").read_bytes() for left in (shared, alone)]
    assert nets[0] == nets[1]


@pytest.mark.slow
@pytest.mark.parametrize("change", ["seed=1", "discovery=30pct", "poison.size=4"])
def test_another_victim_or_split_has_a_path_of_its_own(run, change):
    run(*HARD)
    assert run(*HARD, change)["search"]["looked_up"] == 0
