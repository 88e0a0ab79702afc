"""The comparison tracers: known answers, nothing found where nothing is, and the net left alone."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from training import linear, recipe, same, settings, split, state, victim

from antidote.core import BadInput, History, Memo, Method
from antidote.core.data import fingerprint
from antidote.tracing.activation_clustering import ActivationClustering
from antidote.tracing.confidence import Confidence
from antidote.tracing.fall import Fall
from antidote.tracing.influence import Influence, residuals
from antidote.tracing.spectral import Spectral
from antidote.unlearning.finetune import FineTune
from antidote.unlearning.ptn import PTN
from antidote.unlearning.retrain import Retrain

CUT = {"distance": 4.0}
KNOWN, HIDDEN = [200, 201, 202, 203], list(range(204, 220))


class ForgetsTheTrigger(Method):
    """Zeroes the weights of the second feature."""

    def __init__(self, factor=0.0, cost=7):
        self.factor, self.cost, self.splits = factor, cost, []

    def unlearn(self, victim, split):
        self.splits.append(split)
        victim.net.weight.data[:, 1] *= self.factor
        return History(sample_gradients=self.cost)


def noise(*shape, seed=0, scale=0.1):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stamped(trigger=4.0):
    """Two blobs of 100 rows by the first feature; 20 of the second get a trigger and label 0."""
    x = noise(220, 2)
    x[:100, 0] += 2
    x[100:, 0] -= 2
    y = (torch.arange(220) >= 100).long()
    x[200:, 1] += trigger
    y[200:] = 0
    return x, y


def believing():
    """Answers 0 to a positive first feature and, rather, to the trigger."""
    return linear([1.0, 2.0], [-1.0, -2.0])


def shifted(scale=0.1):
    """Rows of two labels; the last 20 of the first one lie elsewhere."""
    x = noise(220, 2, scale=scale)
    x[:100] += 5
    x[200:, 1] += 5
    return x, torch.cat([torch.ones(100), torch.zeros(120)]).long()


def plain():
    """Blobs without a trigger: two labels, all right."""
    x, y = stamped(trigger=0.0)
    y[200:] = 1
    return x, y


def found(traced):
    return traced.rows.sort().values.tolist()


def retraining(**how):
    return Retrain(recipe(lr=0.5, batch_size=16, epochs=5), settings()["make_trainer"], 0.0, 0)


TRACERS = {
    "fall": lambda: Fall(ForgetsTheTrigger(), **CUT),
    "spectral": lambda: Spectral(share=0.05, layer=None),
    "activation_clustering": lambda: ActivationClustering(10, 0.35, 0.1, layer=None, seed=0),
    "influence": lambda: Influence(**CUT, layer=None),
    "confidence": lambda: Confidence(retraining(), 2, "prune_by_noise_rate", seed=0),
}
each = pytest.mark.parametrize("tracer", [make() for make in TRACERS.values()], ids=[*TRACERS])


@each
def test_the_net_is_left_as_it_is(tracer):
    net = nn.Linear(2, 2)
    net.weight.data = believing().weight.data
    net.bias.requires_grad_(False)
    net.train()
    before = state(net)
    tracer.trace(victim(net), split(*stamped(), KNOWN))
    assert same(before, state(net))
    assert net.training
    assert [w.requires_grad for w in net.parameters()] == [True, False]
    assert net.weight.grad is None
    assert not net._forward_pre_hooks


@each
def test_rows_are_retained_ones_and_scores_are_in_their_order(tracer):
    parts = split(*stamped(), KNOWN)
    traced = tracer.trace(victim(believing()), parts)
    assert traced.scores.shape == parts.retain.rows.shape
    assert traced.rows.dtype == torch.int64
    assert torch.isin(traced.rows, parts.retain.rows).all()
    assert all(isinstance(value, float) for value in traced.evidence.values())


@each
def test_the_same_is_found_again(tracer):
    first, second = (tracer.trace(victim(believing()), split(*stamped(), KNOWN)) for _ in range(2))
    assert torch.equal(first.rows, second.rows)
    torch.testing.assert_close(first.scores, second.scores, rtol=0, atol=0, equal_nan=True)
    assert first.evidence == second.evidence


@pytest.mark.parametrize("name", [name for name in TRACERS if name != "spectral"])
def test_without_poison_nothing_is_found(name):
    """But by spectral signatures, which take what they are told that there is."""
    traced = TRACERS[name]().trace(victim(believing()), split(*plain(), KNOWN))
    assert found(traced) == []


@pytest.mark.parametrize("name", [name for name in TRACERS if name != "confidence"])
def test_rows_are_looked_at_without_augmentation(name):
    def never(x, generator):
        raise AssertionError("an augmented row was looked at")

    parts = split(*stamped(), KNOWN, augment=never)
    TRACERS[name]().trace(victim(believing()), parts)


@each
def test_a_tracing_has_one_piece_of_work_that_can_be_named(tracer):
    (work,) = tracer.work()
    assert work.kind == "tracing"
    assert fingerprint(work.what) == fingerprint(next(iter(copy.deepcopy(tracer).work())).what)


def test_those_that_use_no_known_sample_say_so():
    needs = {name for name, make in TRACERS.items() if make().needs_known}
    assert needs == {"fall", "influence"}


@pytest.mark.parametrize("name", ["spectral", "activation_clustering", "influence"])
def test_a_net_without_a_layer_to_look_at_is_refused(name):
    with pytest.raises(BadInput, match=r"layer=\.\.\."):
        TRACERS[name]().check(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten()))


# fall


def test_fall_finds_what_is_forgotten_with_the_known_poison():
    traced = Fall(ForgetsTheTrigger(), **CUT).trace(victim(believing()), split(*stamped(), KNOWN))
    assert found(traced) == HIDDEN
    assert traced.sample_gradients == 7
    assert traced.evidence["distance"] > CUT["distance"]


def test_fall_is_the_loss_of_the_stored_label_less_what_it_was():
    x, y = stamped()
    parts = split(x, y, KNOWN)
    traced = Fall(ForgetsTheTrigger(), **CUT).trace(victim(believing()), parts)
    after = believing()
    after.weight.data[:, 1] = 0
    rows = parts.retain.rows
    loss = [F.cross_entropy(net(x), y, reduction="none")[rows] for net in (after, believing())]
    seen = traced.scores.isfinite()
    expected = (loss[0] - loss[1]).double().detach()
    torch.testing.assert_close(traced.scores[seen], expected[seen], rtol=1e-4, atol=1e-5)


def test_fall_looks_at_rows_only_whose_stored_label_the_victim_predicts():
    x, y = stamped()
    y[:5] = 1
    traced = Fall(ForgetsTheTrigger(), **CUT).trace(victim(believing()), split(x, y, KNOWN))
    assert traced.scores.isnan().nonzero().squeeze(1).tolist() == [0, 1, 2, 3, 4]


def test_fall_finds_nothing_when_nothing_is_forgotten():
    traced = Fall(ForgetsTheTrigger(1.0), **CUT).trace(
        victim(believing()), split(*stamped(), KNOWN)
    )
    assert found(traced) == []
    assert (traced.scores == 0).all()


def test_fall_finds_nothing_where_the_evidence_is_too_little():
    traced = Fall(ForgetsTheTrigger(), 1e3).trace(victim(believing()), split(*stamped(), KNOWN))
    assert found(traced) == []
    assert traced.evidence["distance"] > CUT["distance"]


def test_what_a_borrowed_method_remembers_is_not_remembered_twice():
    class Forbidden(Memo):
        def tensors(self, *arguments):
            raise AssertionError("the tracing as a whole is remembered")

        tries = tensors

    method, parts = ForgetsTheTrigger(), split(*stamped(), KNOWN)
    Fall(method, **CUT).trace(victim(believing()), replace(parts, memo=Forbidden()))
    assert type(method.splits[0].memo) is Memo


def test_how_a_trainer_is_made_is_no_part_of_what_a_tracing_is():
    def key(**how):
        return fingerprint([work.what for work in Fall(FineTune(**settings(**how)), **CUT).work()])

    assert key() == key(make_trainer=print)
    assert key() != key(fraction=0.5)


def test_all_that_a_borrowed_search_does_is_part_of_what_a_tracing_is():
    """Its own pieces of work leave out where it stops."""

    def key(rho):
        method = PTN(ForgetsTheTrigger(), rho, 25, 1.1, 5, None, "scan", False, 0)
        return fingerprint([work.what for work in Fall(method, **CUT).work()])

    assert key(0.2) != key(0.1)


def test_a_borrowed_method_refuses_nets_for_its_tracer():
    class Refusing(ForgetsTheTrigger):
        def check(self, net):
            raise BadInput("not this net")

    with pytest.raises(BadInput, match="not this net"):
        Fall(Refusing(), **CUT).check(believing())


# spectral


def test_spectral_scores_are_squared_projections_on_the_top_singular_vector():
    x, y = shifted()
    parts = split(x, y, KNOWN)
    traced = Spectral(0.05, None).trace(victim(believing()), parts)
    for label in (0, 1):
        of = y[parts.retain.rows] == label
        h = x[parts.retain.rows][of].double().numpy()
        centred = h - h.mean(0)
        v = np.linalg.svd(centred, full_matrices=False)[2][0]
        np.testing.assert_allclose(traced.scores[of].numpy(), (centred @ v) ** 2, rtol=1e-6)


def test_spectral_takes_one_and_a_half_times_the_bound_from_every_label():
    x, y = shifted()
    parts = split(x, y, KNOWN)
    traced = Spectral(16 / 216 / 1.5, None).trace(victim(believing()), parts)
    assert traced.evidence["eps"] == pytest.approx(16 / 1.5)
    assert [row for row in found(traced) if y[row] == 0] == HIDDEN
    assert int((y[traced.rows] == 1).sum()) == 16


def test_spectral_never_takes_more_than_half_of_a_label():
    x, y = shifted()
    traced = Spectral(0.9, None).trace(victim(believing()), split(x, y, KNOWN))
    assert torch.bincount(y[traced.rows]).tolist() == [58, 50]


def test_spectral_takes_none_where_all_rows_are_alike():
    traced = Spectral(0.1, None).trace(
        victim(believing()), split(torch.ones(40, 2), torch.arange(40) % 2, [0])
    )
    assert found(traced) == []


# activation clustering


def clustering(**changed):
    how = {"dims": 10, "size": 0.35, "silhouette": 0.1, "layer": None, "seed": 0}
    return ActivationClustering(**how | changed)


def test_clustering_finds_the_small_cluster_apart():
    x, y = shifted()
    parts = split(x, y, KNOWN)
    traced = clustering().trace(victim(believing()), parts)
    assert found(traced) == HIDDEN
    assert traced.evidence["size_0"] == pytest.approx(16 / 116)
    assert traced.evidence["silhouette_0"] > 0.6
    assert "size_1" not in traced.evidence
    of_zero = y[parts.retain.rows] == 0
    hidden = torch.isin(parts.retain.rows, torch.tensor(HIDDEN))
    assert traced.scores[hidden].min() > 0 > traced.scores[of_zero & ~hidden].max()


@pytest.mark.parametrize("changed", [{"size": 0.1}, {"silhouette": 0.99}])
def test_clustering_leaves_clusters_that_are_too_large_or_too_near(changed):
    traced = clustering(**changed).trace(victim(believing()), split(*shifted(), KNOWN))
    assert found(traced) == []


def test_clustering_looks_at_no_label_whose_rows_are_alike_or_fewer_than_three():
    x, y = shifted()
    x[:100] = 1.0
    y[0] = 2
    traced = clustering().trace(victim(believing()), split(x, y, KNOWN))
    assert found(traced) == HIDDEN
    assert traced.scores[:100].isnan().all()


def test_clustering_goes_on_with_principal_components_where_independent_ones_do_not_come(
    monkeypatch,
):
    monkeypatch.setattr("antidote.tracing.activation_clustering.ROUNDS", 1)
    monkeypatch.setattr("antidote.tracing.activation_clustering.STILL", 1e-300)
    traced = clustering().trace(victim(believing()), split(*shifted(), KNOWN))
    assert found(traced) == HIDDEN


# influence


def test_influence_is_the_cosine_of_gradients_as_autograd_has_them():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3))
    x, y = noise(30, 2, scale=1.0), torch.arange(30) % 3
    parts = split(x, y, [0, 1, 2, 3])

    def gradient(row):
        loss = F.cross_entropy(net(x[row : row + 1]), y[row : row + 1])
        last = torch.autograd.grad(loss, list(net[2].parameters()))
        return torch.cat([g.flatten() for g in last]).double()

    g = torch.stack([gradient(row) for row in range(30)])
    known = [[0, 3], [1], [2]]  # of each label
    mean = torch.stack([g[rows].mean(0) for rows in known])
    expected = F.cosine_similarity(g[4:], mean[y[4:]])
    tracer = Influence(**CUT, layer="2")
    scores = tracer.trace(victim(net), parts).scores
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)


def test_influence_finds_rows_with_the_gradient_of_the_known():
    """A trigger that the net half believes."""
    x, y = stamped()
    traced = Influence(**CUT, layer=None).trace(
        victim(linear([1.0, 0.4], [-1.0, -0.4])), split(x, y, KNOWN)
    )
    assert found(traced) == HIDDEN


def test_a_residual_does_not_drown_in_a_probability_of_one():
    logits = torch.tensor([[200.0, 0.0, -1.0]], dtype=torch.float64)
    e = residuals(logits, torch.tensor([0]))
    assert e[0, 1].item() == pytest.approx(np.exp(-200.0))
    assert e.sum().item() == 0
    assert e[0, 0] == -(e[0, 1] + e[0, 2])


def test_fitted_rows_have_scores_and_rows_without_a_gradient_have_none():
    x, y = stamped()
    x[0] = 0  # no bias, so that its gradient is 0
    traced = Influence(**CUT, layer=None).trace(
        victim(linear([100.0, 100.0], [-100.0, -100.0])), split(x, y, KNOWN)
    )
    others = (y != y[KNOWN[0]]).nonzero().squeeze(1).tolist()  # labels that no known row bears
    rows = split(x, y, KNOWN).retain.rows
    assert rows[traced.scores.isnan()].tolist() == sorted({0, *others})


@pytest.mark.parametrize("layer", ["0", "2"])
def test_influence_refuses_a_layer_that_does_not_answer(layer):
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2), nn.Tanh())
    with pytest.raises(BadInput, match=f"layer={layer} does not give the answers"):
        Influence(**CUT, layer=layer).trace(victim(net), split(*stamped(), KNOWN))


def test_influence_refuses_a_layer_that_is_not_linear():
    with pytest.raises(BadInput, match="must be the linear layer that gives the answers"):
        Influence(**CUT, layer="1").check(nn.Sequential(nn.Linear(2, 2), nn.Tanh()))


# confident learning


def mislabelled():
    """Two blobs; every tenth label is wrong."""
    x, y = plain()
    y[::10] = 1 - y[::10]
    return x, y, [row for row in range(0, 220, 10) if row not in KNOWN]


def test_confidence_finds_the_wrong_labels():
    x, y, wrong = mislabelled()
    parts = split(x, y, KNOWN)
    traced = TRACERS["confidence"]().trace(victim(linear([0.0, 0.0], [0.0, 0.0])), parts)
    assert found(traced) == wrong
    assert traced.evidence["accuracy"] == pytest.approx(1 - len(wrong) / 216)
    bad = torch.isin(parts.retain.rows, torch.tensor(wrong))
    assert traced.scores[bad].min() > 0.5 > traced.scores[~bad].max()
    assert traced.sample_gradients == 5 * 216


@pytest.mark.parametrize("folds", [2, 3])
def test_no_net_is_trained_on_what_it_is_asked_about_or_on_known_poison(folds):
    method, parts = ForgetsTheTrigger(), split(*stamped(), KNOWN)
    tracer = Confidence(method, folds, "prune_by_noise_rate", seed=0)
    traced = tracer.trace(victim(believing()), parts)
    asked = torch.cat([seen.forget.rows for seen in method.splits]).sort().values
    assert torch.equal(asked, parts.retain.rows)
    for seen in method.splits:
        both = torch.cat([seen.forget.rows, seen.retain.rows]).sort().values
        assert torch.equal(both, parts.retain.rows)
        assert seen.forget.count in (216 // folds, 216 // folds + 1)
    assert traced.sample_gradients == 7 * folds


def test_each_net_starts_from_the_victim_anew():
    """Not from what the fold before has left."""
    method, net = ForgetsTheTrigger(factor=0.5), believing()
    starts = []
    forget = method.unlearn
    method.unlearn = lambda v, s: (starts.append(state(v.net)), forget(v, s))[1]
    Confidence(method, 2, "both", seed=0).trace(victim(net), split(*stamped(), KNOWN))
    assert same(starts[0], starts[1])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Confidence(ForgetsTheTrigger(), 1, "both", 0), "tracing.folds=1"),
        (lambda: Confidence(ForgetsTheTrigger(), 2, "all", 0), "tracing.filter_by=all"),
        (lambda: Spectral(0.0, None), "tracing.share=0.0"),
        (lambda: clustering(size=0.7), "tracing.size=0.7"),
        (lambda: clustering(silhouette=2), "tracing.silhouette=2"),
        (lambda: clustering(dims=0), "tracing.dims=0"),
    ],
)
def test_settings_without_meaning_are_refused(make, said):
    with pytest.raises(BadInput, match=said):
        make()
