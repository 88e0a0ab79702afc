"""One search path serves all rho: what is looked up is what a search of its own would find."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from antidote.cache import Cache
from antidote.core import Samples, Split, everything
from antidote.ledger import Ledger
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
    known = everything(samples, augment=shake).but(rows=rows[:12])
    return net, known, everything(samples, augment=shake).but(rows=rows[12:])


NET, KNOWN, REST = world()
WEIGHTS = {name: w.clone() for name, w in NET.state_dict().items()}


def search(cache, rho, **changes):
    """(report, weights, looks) of a search that keeps its path in `cache`, or in none."""

    def record(parts):
        ledger = Ledger(cache, parts, "here")
        return ledger.read(), ledger.add

    settings = {"start": 25, "growth": 1.1, "max_tries": 500, "pressure_max": None}
    settings |= {"strategy": "scan", "augment": False, "seed": 0} | changes
    NET.load_state_dict(WEIGHTS)
    NET.looks = 0
    editor = WeightEditor(norm, 1, Percentile(), 1.0, 30, "retain", "batches", False, 0)
    split = Split(KNOWN.but(), REST.but(), **({} if cache is None else {"record": record}))
    report = PTN(editor, rho, **settings).unlearn(SimpleNamespace(net=NET), split)
    return report, {name: w.clone() for name, w in NET.state_dict().items()}, NET.looks


def told(report):
    """All of a search but how much of it was looked up."""
    return {k: v for k, v in report.search.items() if k != "looked_up"}


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", "on")


@pytest.fixture
def ledger(cache):
    """The one file, once there is one."""
    return lambda: next((cache.folder / "paths").glob("*.json"))


@pytest.mark.parametrize("strategy", ["scan", "bisect"])
@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("order", [RHO, RHO[::-1]], ids=["falling", "rising"])
def test_a_grid_of_rho_off_one_path_is_the_grid_of_separate_searches(
    cache, strategy, augment, order
):
    how = {"strategy": strategy, "augment": augment}
    for rho in order:
        shared, weights, _ = search(cache, rho, **how)
        alone, expected, _ = search(None, rho, **how)
        assert (shared.steps, told(shared)) == (alone.steps, told(alone))
        assert all(torch.equal(weights[name], w) for name, w in expected.items())


@pytest.mark.parametrize("order", [RHO, RHO[::-1]], ids=["falling", "rising"])
def test_a_grid_of_rho_costs_the_forwards_of_its_longest_search(cache, order):
    looks = [search(cache, rho)[2] for rho in order]
    longest = search(None, 0.0)[2]
    assert longest > 10  # else the path proves nothing
    # each search looks at the victim itself once
    assert sum(looks) - len(RHO) == longest - 1


def test_searches_of_both_strategies_share_a_path(cache):
    scanned = search(cache, 0.2)
    bisected = search(cache, 0.2, strategy="bisect")
    first = {step["try"] for step in scanned[0].steps}
    assert bisected[2] == 1 + sum(step["try"] not in first for step in bisected[0].steps)


def test_what_was_looked_up_is_told_and_its_time_is_added(cache, ledger):
    fresh, again = search(cache, 0.2)[0], search(cache, 0.2)[0]
    assert (fresh.search["looked_up"], fresh.saved) == (0, 0.0)
    assert again.search["looked_up"] == again.search["forwards"] == len(fresh.steps)
    kept = json.loads(ledger().read_text())["tries"].values()
    assert again.saved == pytest.approx(sum(row["seconds"] for row in kept))


@pytest.mark.parametrize("change", [{"start": 20}, {"growth": 1.2}, {"augment": True}, {"seed": 1}])
def test_a_search_whose_tries_differ_has_a_path_of_its_own(cache, change):
    search(cache, 0.2)
    assert search(cache, 0.2, **change)[0].search["looked_up"] == 0


@pytest.mark.parametrize("change", [{"max_tries": 499}, {"pressure_max": 0.9}])
def test_limits_of_a_search_leave_its_path(cache, change):
    search(cache, 0.2)
    report = search(cache, 0.2, **change)[0]
    assert report.search["looked_up"] == report.search["forwards"]


def damage(path, how):
    about = json.loads(path.read_text())
    about["tries"]["0"]["known_poison_accuracy"] = 0.0
    path.write_text({"a number": json.dumps(about), "half": path.read_text()[:99], "none": ""}[how])


@pytest.mark.parametrize("how", ["a number", "half", "none"])
def test_a_damaged_path_is_noticed_and_searched_again(cache, ledger, how, caplog):
    fresh = search(cache, 0.2)[0]
    damage(ledger(), how)
    again = search(cache, 0.2)[0]
    assert again.search == fresh.search
    assert "damaged" in caplog.text
    assert search(cache, 0.2)[0].search["looked_up"] == len(fresh.steps)


def test_two_searches_at_once_lose_nothing(cache):
    one, other = (Ledger(cache, {"a": 1}, "here") for _ in range(2))
    assert one.read() == other.read() == {}
    one.add({0: {"seconds": 1.0}, 1: {"seconds": 1.0}})
    other.add({1: {"seconds": 2.0}, 2: {"seconds": 2.0}})
    assert {t: row["seconds"] for t, row in one.read().items()} == {0: 1.0, 1: 1.0, 2: 2.0}


def test_no_path_is_kept_without_a_cache(tmp_path):
    for _ in range(2):
        assert search(Cache(tmp_path, "off"), 0.2)[0].search["looked_up"] == 0
    assert not list(tmp_path.iterdir())


def test_a_refreshed_cache_searches_anew_and_keeps_that(cache):
    search(cache, 0.2)
    for _ in range(2):
        assert search(Cache(cache.folder, "refresh"), 0.75)[0].search["looked_up"] == 0
    assert search(cache, 0.75)[0].search["looked_up"] > 0


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
