"""PTN over a fake editor whose edits set the accuracy on the known poison to what a table says."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from antidote.checks import BadInput
from antidote.core import Samples, Split, everything
from antidote.unlearning.ptn import PTN
from antidote.unlearning.search import bisect, scan


class FakeNet(nn.Module):
    """Answers 0, the poisoned label, to the first `hits` of samples 0, 1, 2, ..., else 1."""

    def __init__(self, hits):
        super().__init__()
        self.hits, self.pressure = hits, None

    def forward(self, x):
        return torch.stack([x[:, 0] < self.hits, x[:, 0] >= self.hits], dim=1).float()


class FakeEditor:
    """Try t leaves `hits[t]` samples answered with their poisoned label."""

    def __init__(self, hits):
        self.hits = hits

    def signature(self):
        return {"hits": self.hits}

    def measure(self, net, split):
        return SimpleNamespace(infinite=7, sample_gradients=11, saved=1.5)

    def natural(self, evidence):
        return 25.0

    def edit(self, net, evidence, pressure):
        net.pressure = pressure
        net.hits = self.hits[round(math.log(pressure, 1.1))]
        return {"pressure": pressure, "cutoff": 100 / pressure, "dampened": 0.5}


def search(hits, answered=10, n=10, augmentation=None, **changes):
    """Net and report of a search on n samples; the victim answers `answered` with their label."""
    settings = {
        "rho": 0.2,
        "start": 25,
        "growth": 1.1,
        "max_tries": len(hits),
        "pressure_max": None,
    }
    settings |= {"strategy": "scan", "augment": False, "seed": 0} | changes
    known = Samples(torch.arange(n).float().unsqueeze(1), torch.zeros(n, dtype=torch.int64))
    victim = SimpleNamespace(net=FakeNet(answered))
    split = Split(everything(known, augment=augmentation), everything(known))
    return victim.net, PTN(FakeEditor(hits), **settings).unlearn(victim, split)


def asked(strategy, good, tries):
    questions = []

    def question(t):
        questions.append(t)
        return good(t)

    return strategy(question, tries), questions


@given(st.integers(1, 600), st.integers(0, 700))
def test_bisect_finds_the_try_that_scan_finds(tries, first):
    assert bisect(lambda t: t >= first, tries) == scan(lambda t: t >= first, tries)


@given(st.integers(1, 10**6), st.integers(0, 10**6))
def test_bisect_asks_logarithmically_many_questions(tries, first):
    # k doublings reach past 2^k - 1 >= first, and k - 1 halvings remain
    _, questions = asked(bisect, lambda t: t >= first, tries)
    assert len(questions) <= 2 * min(first, tries).bit_length() + 1


@given(st.integers(1, 600), st.integers(0, 700))
def test_bisect_asks_nothing_twice_and_nothing_beyond_the_tries(tries, first):
    _, questions = asked(bisect, lambda t: t >= first, tries)
    assert len(set(questions)) == len(questions)
    assert set(questions) <= set(range(tries))


def test_scan_asks_one_try_after_the_other_and_stops_at_the_first_good_one():
    assert asked(scan, lambda t: t in (3, 5), 10) == (3, [0, 1, 2, 3])


@pytest.mark.parametrize("strategy", ["scan", "bisect"])
def test_the_first_try_at_rho_times_the_first_accuracy_is_accepted(strategy):
    # A_0 = 1, rho = 0.2: 3 of 10 is too many, 2 of 10 is exactly the limit
    net, report = search([9, 8, 3, 2, 1, 0], strategy=strategy)
    assert (report.search["tries"], report.search["met"], net.hits) == (4, True, 2)


@pytest.mark.parametrize("strategy", ["scan", "bisect"])
def test_the_limit_is_a_share_of_the_victims_own_accuracy(strategy):
    # A_0 = 0.5: the limit is 0.2 * 0.5, 1 of 10
    assert search([5, 4, 3, 2, 1, 0], answered=5, strategy=strategy)[1].search["tries"] == 5


def test_rho_0_accepts_only_an_accuracy_of_0():
    assert search([4, 1, 1, 0, 0], rho=0)[1].search["tries"] == 4


@pytest.mark.parametrize("strategy", ["scan", "bisect"])
def test_the_last_try_stays_where_none_is_accepted(strategy):
    net, report = search([9, 8, 7, 6, 5], strategy=strategy)
    assert (report.search["met"], report.search["tries"], net.hits) == (False, 5, 5)


def test_after_a_bisection_the_net_is_that_of_the_accepted_try():
    # questions 0, 1, 3, 7, then 5 (good), then 4 (not good): the last question is not the answer
    net, report = search([9, 9, 9, 9, 9, 0, 0, 0, 0], strategy="bisect")
    assert [step["try"] for step in report.steps] == [0, 1, 3, 4, 5, 7]
    assert (net.pressure, net.hits) == (pytest.approx(1.1**5), 0)


def test_both_strategies_leave_the_same_net():
    nets = [search([9] * 20 + [1] * 20, strategy=strategy)[0] for strategy in ("scan", "bisect")]
    assert nets[0].pressure == nets[1].pressure


def test_the_search_tells_forward_passes_from_tries():
    report = search([9] * 30 + [1] * 10, strategy="bisect")[1].search
    # 0, 1, 3, 7, 15, 31, then 23, 27, 29, 30
    assert (report["tries"], report["forwards"]) == (31, 10)


def test_the_search_reports_what_the_accepted_try_did():
    report = search([9, 9, 1])[1].search
    assert report["start_accuracy"] == 1.0
    assert report["known_poison_accuracy"] == pytest.approx(0.1)
    assert report["cutoff"] == pytest.approx(100 / 1.21)
    assert report["infinite_ratios"] == 7


def test_the_cost_is_that_of_the_measurement():
    report = search([0])[1]
    assert (report.sample_gradients, report.saved) == (11, 1.5)


@pytest.mark.parametrize(
    ("pressure_max", "tries"),
    [
        (1.0, 1),
        (1.1, 2),
        (1.2, 2),
        (1.21001, 3),
        (0.5, 1),
        (None, 6),
        (1e9, 6),
    ],  # pressures 1, 1.1, 1.21, 1.331, ...
)
def test_no_try_but_the_first_goes_beyond_pressure_max(pressure_max, tries):
    assert search([9] * 6, pressure_max=pressure_max)[1].search["tries"] == tries


@pytest.mark.parametrize(("augment", "passes"), [(False, 0), (True, 3)])
def test_the_known_poison_is_checked_on_augmented_samples_only_if_asked(augment, passes):
    seen = []

    def note(x, generator):
        seen.append(len(x))
        return x

    search([9, 0], augmentation=note, augment=augment)
    assert len(seen) == passes  # the victim, try 0, try 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"rho": 1},
        {"rho": -0.1},
        {"growth": 1},
        {"start": 0},
        {"max_tries": 0},
        {"strategy": "guess"},
    ],
)
def test_settings_without_meaning_are_refused_by_name(wrong):
    with pytest.raises(BadInput, match=rf"unlearning\.{next(iter(wrong))}="):
        search([0], **wrong)
