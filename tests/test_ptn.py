"""PTN over a fake editor whose edits set the accuracy on the known poison to what a table says."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from waits import Waits

from antidote.core import BadInput, Memo, Samples, Split, Victim, Work, everything
from antidote.core.data import described
from antidote.unlearning.cutoff import Percentile
from antidote.unlearning.objective import norm
from antidote.unlearning.ptn import PTN
from antidote.unlearning.search import bisect, scan
from antidote.unlearning.weight_editor import Editor, WeightEditor


class FakeNet(nn.Module):
    """Answers 0, the poisoned label, to the first `hits` of samples 0, 1, 2, ..., else 1."""

    def __init__(self, hits):
        super().__init__()
        self.hits, self.pressure = hits, None

    def forward(self, x):
        return torch.stack([x[:, 0] < self.hits, x[:, 0] >= self.hits], dim=1).float()


class FakeEditor:
    """Try t leaves `hits[t]` samples answered with their poisoned label.

    It has no more than a search needs.
    """

    def __init__(self, hits):
        self.hits = hits

    def measure(self, net, split):
        return SimpleNamespace(infinite=7, sample_gradients=11, saved=1.5)

    def natural(self, evidence):
        return 25.0

    def edit(self, net, evidence, pressure):
        net.pressure = pressure
        net.hits = self.hits[round(math.log(pressure, 1.1))]
        return {"pressure": pressure, "cutoff": 100 / pressure, "dampened": 0.5}


def ptn(method, max_tries=6, **changes):
    settings = {"rho": 0.2, "start": 25, "growth": 1.1, "pressure_max": None}
    settings |= {"strategy": "scan", "augment": False, "seed": 0} | changes
    return PTN(method, max_tries=max_tries, **settings)


def world(n=10, augmentation=None, memo=None):
    """A split of n samples with the poisoned label 0."""
    known = Samples(torch.arange(n).float().unsqueeze(1), torch.zeros(n, dtype=torch.int64))
    return Split(everything(known, augment=augmentation), everything(known), memo or Memo())


def search(hits, answered=10, n=10, augmentation=None, **changes):
    """Net and history of a search on n samples; the victim answers `answered` with their label."""
    victim = Victim(FakeNet(answered), lambda: None)
    method = ptn(FakeEditor(hits), **{"max_tries": len(hits)} | changes)
    return victim.net, method.unlearn(victim, world(n, augmentation))


def asked(strategy, good, tries):
    """(what a walk ends at, the tries it asked about)"""
    questions, walk = [], strategy(tries)
    try:
        questions.append(next(walk))
        while True:
            questions.append(walk.send(good(questions[-1])))
    except StopIteration as end:
        return end.value, questions


@given(st.integers(1, 600), st.integers(0, 700))
def test_bisect_finds_the_try_that_scan_finds(tries, first):
    found = [asked(strategy, lambda t: t >= first, tries)[0] for strategy in (bisect, scan)]
    assert found[0] == found[1]


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


class Choosy(Editor):
    """An editor with work of its own that takes no net but one."""

    def check(self, net):
        if not isinstance(net, FakeNet):
            raise BadInput("no such net")

    def work(self):
        yield Work("importances", {"by": Choosy}, "importances, of one kind")

    def measure(self, net, split): ...
    def natural(self, evidence): ...
    def edit(self, net, evidence, pressure): ...


def test_a_search_refuses_the_nets_that_its_editor_refuses():
    ptn(Choosy()).check(FakeNet(1))
    with pytest.raises(BadInput, match="no such net"):
        ptn(Choosy()).check(nn.Linear(1, 1))


def test_a_search_needs_known_poison_even_if_its_editor_does_not():
    editor = Choosy()
    editor.needs_known = False
    assert ptn(editor).needs_known


def test_a_searchs_work_is_its_editors_and_the_search():
    found = [(work.kind, work.name) for work in ptn(Choosy()).work()]
    assert found == [("importances", "importances, of one kind"), ("search", "search paths")]


def what(method):
    """What determines a try, as a store knows it."""
    *_, work = method.work()
    return described(work.what)


@pytest.mark.parametrize("change", [{"start": 20}, {"growth": 1.2}, {"augment": True}, {"seed": 1}])
def test_whatever_changes_a_try_is_part_of_what_it_is_remembered_by(change):
    assert what(ptn(Choosy())) != what(ptn(Choosy(), **change))


@pytest.mark.parametrize(
    "change", [{"rho": 0.1}, {"max_tries": 9}, {"pressure_max": 0.5}, {"strategy": "bisect"}]
)
def test_where_a_search_stops_is_no_part_of_what_its_tries_are_remembered_by(change):
    assert what(ptn(Choosy())) == what(ptn(Choosy(), **change))


def test_a_try_is_remembered_by_its_editors_settings():
    one, other = Choosy(), Choosy()
    one.strength, other.strength = 1.0, 2.0
    assert what(ptn(one)) != what(ptn(other))


class Shelf(Memo):
    """Notes what a search asks it for, and which pressure the net was at."""

    def __init__(self):
        self.asked = []

    def tries(self, work, net, loaders):
        self.asked.append((work.kind, net.pressure, loaders))
        return {0: {"try": 0, "known_poison_accuracy": 0.1, "seconds": 9.0}}, self.asked.append


def test_tries_are_remembered_by_the_net_and_the_loaders_of_the_call():
    shelf = Shelf()
    split = world(memo=shelf)
    history = ptn(FakeEditor([1])).unlearn(Victim(FakeNet(10), lambda: None), split)
    assert shelf.asked == [("search", None, [split.forget, split.retain]), {}]
    assert (history.search["looked_up"], history.saved) == (1, 1.5 + 9.0)


class Halver(FakeEditor):
    """Halves the weight, which the known poison's label goes by, at each edit."""

    def edit(self, net, evidence, pressure):
        net.weight.data.div_(2)
        return {"pressure": pressure}


class Threshold(nn.Linear):
    def forward(self, x):
        return torch.cat([super().forward(x), torch.full((len(x), 1), 3.0)], dim=1)


def test_a_search_inside_an_autocast_sees_its_own_edits():
    net = Threshold(1, 1, bias=False)
    net.weight.data.fill_(8.0)
    samples = Samples(torch.ones(4, 1), torch.zeros(4, dtype=torch.int64))
    with torch.autocast("cpu", torch.bfloat16):
        split = Split(everything(samples), everything(samples))
        history = ptn(Halver([])).unlearn(Victim(net, lambda: None), split)
    assert [step["known_poison_accuracy"] for step in history.steps] == [1.0, 0.0]  # 4, then 2


def test_accuracies_of_a_search_are_measured_in_the_victims_precision():
    kinds = []

    class Witness(FakeNet):
        def forward(self, x):
            kinds.append(torch.is_autocast_enabled("cpu"))
            return super().forward(x)

    victim = Victim(Witness(10), lambda: None, lambda: torch.autocast("cpu", torch.bfloat16))
    ptn(FakeEditor([9, 1])).unlearn(victim, world())
    assert kinds == [True] * 3


@pytest.mark.parametrize("layers", [1, 12])
def test_a_try_waits_for_its_edit_and_for_its_accuracy_however_many_layers(monkeypatch, layers):
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Linear(4, 4) for _ in range(layers)))
    samples = Samples(torch.randn(40, 4), torch.arange(40) % 4)
    known = everything(samples, batch_size=5)
    split = Split(known.with_(rows=torch.arange(20)), known.with_(rows=torch.arange(20, 40)))
    editor = WeightEditor(norm, 1, Percentile(), 1.0, 10, "retain", "batches", False, 0)
    spent = []
    for tries in (3, 13):
        waits = Waits(monkeypatch)
        history = ptn(editor, tries, rho=0).unlearn(Victim(net, nn.Identity), split)
        assert len(history.steps) == tries
        spent.append(waits.count)
        monkeypatch.undo()
    assert spent[1] - spent[0] == 2 * 10
