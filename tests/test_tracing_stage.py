"""Tracing as a stage: what a run hands on to its method, records and finds again in the store."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from training import split as rows_split
from training import victim

from antidote.core import BadInput, History, Loader, Method, Samples, Split, Traced, Tracer, Work
from antidote.dataset.augment import CropFlip
from antidote.dataset.digits import digits
from antidote.discovery import Discovery
from antidote.engine import stages
from antidote.engine.left import lacks
from antidote.engine.memo import Remembered
from antidote.engine.store import Store
from antidote.tracing.features import Features

HANDED = []


class Spy(Method):
    """Only keeps what it is handed; needs known poison."""

    def unlearn(self, victim, split):
        HANDED.append(split)
        return History()


SPY = ["unlearning=none", f"unlearning._target_={__name__}.Spy"]
BARE = ["dataset.limit=null", "poison.rate=0.05", "pictures=false", "save_models=false"]
TRACING = ["tracing=features", "tracing.other_labels=false", "discovery=20pct"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("traced")


@pytest.fixture(scope="module")
def traced(launch, place):
    """(record, poison.npz as tensors, the split that the method got) of a run that traces."""
    left = launch(place, *BARE, *SPY, *TRACING)
    poison = np.load(left.folder / "poison.npz")
    return left, {name: torch.from_numpy(a) for name, a in poison.items()}, HANDED.pop()


@pytest.fixture(scope="module")
def found(traced):
    """The traced rows, from what the method got."""
    _, poison, split = traced
    return split.forget.rows[~torch.isin(split.forget.rows, poison["known"])]


def test_what_was_traced_is_left_with_its_scores(traced, found):
    left, poison, split = traced
    traces = np.load(left.folder / "traced.npz")
    assert torch.equal(torch.from_numpy(traces["rows"]), found)
    candidates, scores = traces["candidates"], traces["scores"]
    known = poison["known"].numpy()
    assert sorted([*candidates, *known]) == list(range(len(split.retain.samples)))
    looked = np.isfinite(scores)
    hidden = np.isin(candidates, poison["unknown"].numpy())
    assert scores[looked & hidden].mean() > scores[looked & ~hidden].mean() + 3


def test_a_run_without_a_tracer_leaves_no_traces(launch, place):
    left = launch(place, *BARE, "unlearning=none")
    assert not (left.folder / "traced.npz").exists()


def share(part, of):
    return torch.isin(part, of).double().mean().item()


def test_most_of_the_hidden_poison_is_found(traced):
    """By a net that was fitted for one epoch."""
    left, _, _ = traced
    assert left["tracing/recall"] > 0.9
    assert left["tracing/precision"] > 0.9


def test_the_method_gets_known_and_traced_and_the_rest_lacks_them(traced, found):
    _, poison, split = traced
    assert len(found) > 0
    assert torch.isin(poison["known"], split.forget.rows).all()
    assert torch.equal(split.forget.rows, split.forget.rows.sort().values)
    both = torch.cat([split.forget.rows, split.retain.rows])
    assert torch.equal(both.sort().values, torch.arange(len(split.retain.samples)))


def test_the_shares_on_record_are_those_of_the_rows(traced, found):
    left, poison, _ = traced
    hidden, at = poison["unknown"], torch.isin(poison["indices"], poison["unknown"])
    wrong = hidden[(poison["label"] != poison["true_label"])[at]]
    assert left["n_known"] == len(poison["known"])
    assert left["tracing/rows"] == len(found)
    assert left["tracing/recall"] == pytest.approx(share(hidden, found))
    assert left["tracing/recall_wrong"] == pytest.approx(share(wrong, found))
    assert left["tracing/precision"] == pytest.approx(share(found, hidden))


def test_evidence_and_seconds_are_on_record(traced, found):
    left, poison, _ = traced
    evidence = left["tracing/evidence"]
    assert evidence["labels"] == 1
    assert evidence["distance"] == evidence["label_0_distance"] > 8
    inside = evidence["label_0_rows"] - (len(poison["known"]) - evidence["known_apart"])
    assert inside == len(found)
    assert left["seconds"]["trace"] > left["seconds"]["unlearn"] >= 0


@pytest.fixture
def never(monkeypatch):
    """No tracer by features is at work any more."""

    def trace(self, victim, split):
        raise AssertionError("traced")

    monkeypatch.setattr(Features, "trace", trace)


def test_another_method_gets_the_tracing_from_the_store(launch, place, traced, never):
    first, _, split = traced
    again = launch(place, *BARE, *SPY, *TRACING)
    other = launch(place, *BARE, *TRACING, "unlearning=none")
    assert torch.equal(HANDED.pop().forget.rows, split.forget.rows)
    for left in (again, other):
        assert {k: v for k, v in left.items() if k.startswith("tracing/")} == {
            k: v for k, v in first.items() if k.startswith("tracing/")
        }
        # seconds that were spared are counted
        assert left["seconds"]["trace"] > 0.5 * first["seconds"]["trace"]


@pytest.mark.parametrize(
    "change", ["tracing.distance=7.5", "discovery=one", "discovery.seed=1", "recipe.steps=30"]
)
def test_other_settings_or_another_victim_are_traced_anew(launch, place, traced, never, change):
    given = [*BARE, *SPY, *TRACING, change]
    if change.startswith("recipe"):
        given.append("recipe.epochs=null")
    with pytest.raises(AssertionError, match="traced"):
        launch(place, *given)


def test_without_a_store_the_same_is_traced(launch, place, traced):
    left = launch(place, *BARE, *SPY, *TRACING, "cache=off")
    first, _, split = traced
    assert torch.equal(HANDED.pop().forget.rows, split.forget.rows)
    assert left["tracing/evidence"] == first["tracing/evidence"]


def test_a_tracer_that_finds_nothing_leaves_the_split_as_it_was(launch, place):
    few = [*BARE, *SPY, "dataset.limit=200"]
    left = launch(place, *few, *TRACING, "tracing.distance=1000")
    launch(place, *few, "discovery=20pct", "tracing=none")
    plain, traced = HANDED.pop(), HANDED.pop()
    assert left["tracing/rows"] == 0
    assert left["tracing/recall"] == 0
    assert left["tracing/precision"] is None
    for part in ("forget", "retain"):
        one, other = (getattr(split, part) for split in (plain, traced))
        assert torch.equal(one.rows, other.rows)
        # batches are the same: loaders are equal but for what they are said to come from
        assert one.with_(origin=None).fingerprint == other.with_(origin=None).fingerprint
        assert one.fingerprint != other.fingerprint


def test_without_known_poison_a_blind_tracer_that_finds_nothing_is_one_sentence(launch, place):
    blind = ["tracing=activation_clustering", "tracing.silhouette=0.99", "discovery=20pct"]
    given = [*BARE[:1], *BARE[2:], *SPY, "poison=none", *blind]
    with pytest.raises(SystemExit, match="no poison is known and none was traced") as stop:
        launch(place, *given)
    assert str(stop.value).count("\n") == 0


def test_without_known_poison_a_blind_tracer_can_find_what_the_method_needs(launch, place):
    blind = ["tracing=spectral", "tracing.share=0.02", "discovery=20pct"]
    left = launch(place, *BARE[:1], *BARE[2:], *SPY, "poison=none", *blind)
    assert left["n_known"] == 0
    assert HANDED.pop().forget.count == left["tracing/rows"] > 0


def test_without_known_poison_a_tracer_that_needs_some_is_refused_before_any_work(launch, place):
    given = [*BARE[:1], *BARE[2:], *SPY, "poison=none", *TRACING]
    with pytest.raises(SystemExit, match="the forget set is empty"):
        launch(place, *given)


# the ceiling


def fits(place):
    """How many nets were fitted and kept."""
    return len(list((place / "output/store/victims").rglob("*.safetensors")))


@pytest.fixture(scope="module")
def ceilings(launch, tmp_path_factory):
    """(folder, three records of one victim: without a ceiling, and two with one; fits after each).

    Of two triggers, one of which nobody finds.
    """
    place = tmp_path_factory.mktemp("ceiling")
    chosen = [*BARE, "poison=two_triggers", "poison.rate=0.1", "discovery=100pct"]
    left, fitted = [], []
    for more in (["unlearning=none"], ["unlearning=none", "ceiling=true"], [*SPY, "ceiling=true"]):
        left.append(launch(place, *chosen, *more))
        fitted.append(fits(place))
    return place, left, fitted


def test_a_ceiling_is_measured_where_it_is_asked_for(ceilings):
    _, (without, first, second), _ = ceilings
    assert without["ceiling"] is None
    assert "recovered" not in without
    assert first["ceiling"].keys() == first["before"].keys()
    assert first["ceiling"] == second["ceiling"] != first["before"]
    assert first["id"] == without["id"]


def test_with_a_ceiling_there_are_a_share_recovered_and_a_floor(ceilings):
    _, (_, left, _), _ = ceilings
    a = left["harmed_accuracy_ceiling"] - left["harmed_accuracy_before"]
    gained = left["harmed_accuracy"] - left["harmed_accuracy_before"]
    assert left["recovered"] == (pytest.approx(gained / a) if a > 0.01 else None)
    means = ("trigger/success", "second/success")
    expected = sum(left["ceiling"][name] for name in means) / 2
    assert left["attack_success_floor"] == pytest.approx(expected)
    assert left["clean_accuracy_ceiling"] == left["ceiling"]["test/accuracy"]


def test_a_ceiling_is_fitted_once_per_poison(ceilings):
    _, _, (alone, first, second) = ceilings
    assert alone > 0
    assert first == second == 2 * alone


def test_only_what_can_be_discovered_is_discovered(ceilings):
    """All that can be: the half with the first trigger, which bears label 0."""
    _, (left, _, _), _ = ceilings
    poison = np.load(left.folder / "poison.npz")
    assert left["n_known"] == left["n_poisoned"] / 2
    known = np.isin(poison["indices"], poison["known"])
    assert (poison["label"][known] == 0).all()
    assert (poison["label"][~known] == 1).all()


def test_a_result_without_a_ceiling_lacks_one_that_is_asked_for(tmp_path):
    wanted = {"ceiling": True, "save_models": False, "pictures": False}
    record = {"folder": str(tmp_path), "id": "x"}
    assert lacks(record, wanted)
    assert lacks(record | {"ceiling": None}, wanted)
    assert not lacks(record | {"ceiling": {"test/accuracy": 0.9}}, wanted)
    assert not lacks(record | {"ceiling": None}, wanted | {"ceiling": False})


# the stage, alone


class Says(Tracer):
    """Suspects the rows it is told to."""

    def __init__(self, rows, needs_known=True):
        self.rows, self.needs_known, self.calls = list(rows), needs_known, 0

    def work(self):
        yield Work("tracing", {"by": type(self), "rows": self.rows}, "tracings, Says")

    def trace(self, victim, split):
        self.calls += 1
        scores = torch.full((split.retain.count,), math.nan, dtype=torch.float64)
        scores[0] = 0.1
        evidence = {"distance": 1 / 3, "label_3_rows": 2.0}
        return Traced(torch.tensor(self.rows, dtype=torch.int64), scores, evidence, 12)


class Free(Says):
    """Costs nothing worth keeping."""

    def work(self):
        return ()


def world(known, n=10, memo=None):
    parts = rows_split(torch.zeros(n, 2), torch.arange(n) % 2, known)
    return parts if memo is None else Split(parts.forget, parts.retain, memo)


def net():
    return victim(torch.nn.Linear(2, 2))


def test_what_the_store_gives_back_is_what_was_traced(tmp_path):
    memo, tracer, patient = Remembered(Store(tmp_path), "here"), Says([7, 3]), net()
    (first, none), (second, saved) = (
        stages.trace(tracer, patient, world([1], memo=memo)) for _ in range(2)
    )
    assert tracer.calls == 1
    assert none == 0 < saved
    for found in (first, second):
        assert found.rows.tolist() == [3, 7]
        assert found.evidence == {"distance": 1 / 3, "label_3_rows": 2.0}
        assert found.sample_gradients == 12
        assert found.scores[0] == 0.1
        assert found.scores[1:].isnan().all()


def test_other_known_rows_are_another_tracing(tmp_path):
    memo, tracer, patient = Remembered(Store(tmp_path), "here"), Says([7, 3]), net()
    for known in ([1], [2], [1, 2], [1]):
        stages.trace(tracer, patient, world(known, memo=memo))
    assert tracer.calls == 3


def test_a_tracer_without_work_is_not_remembered(tmp_path):
    memo, tracer, patient = Remembered(Store(tmp_path), "here"), Free([7]), net()
    for _ in range(2):
        assert stages.trace(tracer, patient, world([1], memo=memo))[1] == 0
    assert tracer.calls == 2


@pytest.mark.parametrize("needs_known", [True, False])
def test_without_known_rows_only_a_blind_tracer_is_asked(needs_known):
    tracer = Says([3], needs_known)
    found, _ = stages.trace(tracer, net(), world([]))
    assert tracer.calls == (not needs_known)
    assert found.rows.tolist() == [3] * (not needs_known)
    assert found.scores.shape == (10,)


def test_traced_rows_go_from_the_rest_to_the_known():
    before = world([4, 8])
    after = stages.extended(before, torch.tensor([9, 0]), "cause")
    assert after.forget.rows.tolist() == [0, 4, 8, 9]
    assert after.retain.rows.tolist() == [1, 2, 3, 5, 6, 7]
    assert (before.forget.count, before.retain.count) == (2, 8)
    origins = {part.origin for part in (after.forget, after.retain)}
    assert len(origins) == 2
    assert all("cause" in origin for origin in origins)
    assert after.memo is before.memo


def test_nothing_may_be_left_untraced():
    before = world([4])
    with pytest.raises(BadInput, match="all 9 other samples were traced; nothing would be"):
        stages.extended(before, before.retain.rows, "cause")


def test_the_discoverable_part_of_the_poison_is_all_that_discovery_is_shown():
    y, rows = torch.zeros(20).long(), torch.arange(10)
    truth = torch.ones(20).long()
    poison = SimpleNamespace(train=Samples(y, y), truth=truth, indices=rows, discoverable=rows[:4])
    known, unknown = stages.discover(Discovery(1.0, None, False, 0), None, poison, Says([]), Spy())
    assert known.tolist() == [0, 1, 2, 3]
    assert unknown.tolist() == [4, 5, 6, 7, 8, 9]
    poison.discoverable = None
    known, _ = stages.discover(Discovery(1.0, None, False, 0), None, poison, Says([]), Spy())
    assert torch.equal(known, rows)


@pytest.mark.parametrize(("blind", "refused"), [(True, False), (False, True)])
def test_no_known_poison_is_refused_unless_a_blind_tracer_looks_for_it(blind, refused):
    y, nobody = torch.zeros(20).long(), torch.empty(0).long()
    poison = SimpleNamespace(train=Samples(y, y), truth=y, indices=nobody, discoverable=None)
    asked = Discovery(0.5, None, False, 0), None, poison, Says([], needs_known=not blind), Spy()
    if refused:
        with pytest.raises(BadInput, match="the forget set is empty"):
            stages.discover(*asked)
    else:
        assert len(stages.discover(*asked)[0]) == 0


def test_rows_of_a_loader_keep_their_view():
    """What is traced is stamped as training saw it."""

    def view(x, rows):
        return x + rows[:, None]

    samples = Samples(torch.zeros(6, 1), torch.zeros(6).long())
    before = Split(*(Loader(samples, torch.tensor(r), view=view) for r in ([0, 1], [2, 3, 4, 5])))
    after = stages.extended(before, torch.tensor([4]), "cause")
    assert next(iter(after.forget))[0].squeeze(1).tolist() == [0, 1, 4]
    assert next(iter(after.retain))[0].squeeze(1).tolist() == [2, 3, 5]


# innocent suspects


VICTIMS, SUSPECTS, MOST = range(20), (1, 5, 20), 0


def suspects(y, seed, n):
    """Ids of one class, both drawn."""
    coin = np.random.default_rng([seed, n])
    of_one = (y == int(coin.integers(10))).nonzero().squeeze(1).numpy()
    return sorted(coin.choice(of_one, n, replace=False).tolist())


@pytest.mark.slow
def test_clean_victims_and_innocent_suspects(launch, tmp_path):
    """How often a group of a class is taken for poison where there is none.

    20 clean victims (1,437 digits, ResNet-9 of width 0.125, 8 epochs, 97.8 to 99.7 % accurate) and
    suspects of one class of about 144 rows, on a CPU in bf16. Before a suspect that is tried by
    itself had to lead 1.5 times as far, something was traced in 0 of 20 runs with 1 suspect, in 2
    with 5 (8 and 20 rows, at distances 10.0 and 8.3) and in 2 with 20 (3 and 5 rows, 8.5 and 10.2),
    always in such a try. With that rule and that of samples held back: in none of the 60 runs.
    About ten minutes on an idle machine.
    """
    y = digits(CropFlip(2, 0.0), upscale=2, test_share=0.2, seed=0, limit=None).train.y
    clean = ["tracing=features", "poison=none", "unlearning=none", "recipe.epochs=8", *BARE]
    clean.remove("poison.rate=0.05")
    traced = {n: 0 for n in SUSPECTS}
    for seed in VICTIMS:
        for n in SUSPECTS:
            ids = f"discovery.ids={suspects(y, seed, n)}"
            left = launch(tmp_path, *clean, "discovery=ids", ids, f"seed={seed}")
            traced[n] += left["tracing/rows"] > 0
    assert all(runs <= MOST for runs in traced.values()), traced
