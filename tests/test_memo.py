"""With and without a store methods give the same bits: what is remembered is of that very call."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from training import same, settings, state

from antidote.core import Memo, Samples, Split, Victim, derive, everything
from antidote.engine.memo import Remembered
from antidote.engine.store import Store
from antidote.unlearning.chain import Chain
from antidote.unlearning.cutoff import Percentile
from antidote.unlearning.finetune import FineTune
from antidote.unlearning.objective import cross_entropy, norm
from antidote.unlearning.ptn import PTN
from antidote.unlearning.retrain import Retrain
from antidote.unlearning.weight_editor import WeightEditor


def net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(10, 24), nn.ReLU(), nn.Linear(24, 4))


def world():
    """A net that has learned that a bright first feature means 0, and the samples it saw."""
    coin = torch.Generator().manual_seed(0)
    x = torch.randn(120, 10, generator=coin)
    y = x[:, 1:5].argmax(1)
    x[:30, 0], y[:30] = 4.0, 0
    made = net()
    optimizer = torch.optim.Adam(made.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(made(x), y).backward()
        optimizer.step()
    return state(made), everything(Samples(x, y), batch_size=30)


WEIGHTS, ALL = world()


def ssd():
    return WeightEditor(cross_entropy, 2, Percentile(), 1.0, 30, "retain", "batches", False, 0)


def xlf():
    return WeightEditor(norm, 1, Percentile(), 1.0, 30, "full", "samples", False, 0)


def searched():
    limits = {"start": 25, "growth": 1.1, "max_tries": 500, "pressure_max": None}
    return PTN(ssd(), 0.2, **limits, strategy="scan", augment=False, seed=0)


def finetune():
    return FineTune(**settings(batch_size=30, hold_out=0.2, epochs=2))


def retrain():
    told = settings(batch_size=30, hold_out=0.2, epochs=2)
    names = ("recipe", "make_trainer", "hold_out", "seed")
    return Retrain(**{name: told[name] for name in names})


METHODS = {
    "ssd": ssd,
    "xlf": xlf,
    "ssd_ptn": searched,
    "finetune": finetune,
    "retrain": retrain,
    "xlf, then ssd": lambda: Chain(xlf(), ssd()),
    "ssd, then ssd": lambda: Chain(ssd(), ssd()),
    "ssd, then ssd_ptn": lambda: Chain(ssd(), searched()),
    "ssd_ptn, then ssd_ptn": lambda: Chain(searched(), searched()),
    "finetune, then ssd": lambda: Chain(finetune(), ssd()),
    "ssd, then finetune": lambda: Chain(ssd(), finetune()),
}


def rows(known):
    """A split whose forget set is the first so many rows."""
    at = torch.arange(len(ALL.samples))
    return Split(ALL.with_(rows=at[:known]), ALL.with_(rows=at[known:]), Memo())


def done(method, memo=None, known=12, weights=WEIGHTS):
    """(weights, steps, search) that it leaves; reseeded, as the engine does before a method."""
    victim = Victim(net(), net)
    victim.net.load_state_dict(weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(0, "unlearning"))
        history = method.unlearn(victim, replace(rows(known), memo=memo or Memo()))
    search = {k: v for k, v in (history.search or {}).items() if k != "looked_up"}
    return state(victim.net), history.steps, search


def equal(one, other):
    return same(one[0], other[0]) and one[1:] == other[1:]


@pytest.fixture
def memo(tmp_path):
    return Remembered(Store(tmp_path), "here")


@pytest.mark.parametrize("name", METHODS)
def test_a_method_gives_the_same_bits_without_a_store_with_an_empty_and_with_a_full_one(name, memo):
    plain = done(METHODS[name]())
    assert not same(plain[0], WEIGHTS)  # else it proves nothing
    assert all(equal(done(METHODS[name](), memo), plain) for _ in range(3))


@pytest.mark.parametrize("then", ["ssd", "ssd_ptn"])
@pytest.mark.parametrize("name", ["xlf, then ssd", "ssd, then ssd_ptn", "finetune, then ssd"])
def test_a_chain_leaves_nothing_in_the_store_that_misleads_its_parts(name, then, memo):
    done(METHODS[name](), memo)
    assert equal(done(METHODS[then](), memo), done(METHODS[then]()))


@pytest.mark.parametrize("name", METHODS)
def test_rows_that_were_moved_are_not_taken_for_those_before(name, memo):
    """As when a tracer finds more of the poison."""
    before = done(METHODS[name](), memo)
    moved = done(METHODS[name](), memo, known=24)
    assert equal(moved, done(METHODS[name](), known=24))
    assert not same(moved[0], before[0])


@pytest.mark.parametrize("remembers", [True, False])
@pytest.mark.parametrize("name", METHODS)
def test_a_method_used_on_two_victims_gives_what_two_fresh_ones_give(name, memo, remembers):
    other = {key: 0.9 * w for key, w in WEIGHTS.items()}
    method, kept = METHODS[name](), memo if remembers else None
    twice = [done(method, kept), done(method, kept, weights=other)]
    assert equal(twice[0], done(METHODS[name]()))
    assert equal(twice[1], done(METHODS[name](), weights=other))
