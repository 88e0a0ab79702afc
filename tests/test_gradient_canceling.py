"""Gradient canceling: its objective by hand, its target, its box, its checkpoints, added rows."""

import copy
import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from small_nets import SMALL, classifier
from torch import nn
from training import same, state

from antidote.core import BadInput, Memo, Samples, Surrogate, as_float, everything
from antidote.engine.memo import Remembered
from antidote.engine.stages import training, unpoisoned
from antidote.engine.store import Store
from antidote.metrics.score import Regained, objective
from antidote.metrics.table import table
from antidote.poison.canceling import Canceling, chosen, gradient, squared
from antidote.poison.descent import Descent
from antidote.poison.gradient_canceling import GradientCanceling
from antidote.poison.gradpc import corrupt

DESCENT = {
    "steps": 12,
    "lr": 0.1,
    "schedule": "cosine",
    "direction": "sign",
    "stop": 0.0,
    "project": True,
    "segment": 5,
}
SETTINGS = {
    "rate": 0.2,
    "layers": "last_linear",
    "eps_w": 0.5,
    "ascent": 1.0,
    "ascent_batch_size": 16,
    "batch_size": 7,
    "seed": 0,
    **DESCENT,
}


def flat(seed=0):
    """A linear softmax model of the `tiny` images, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, 4)).eval()


def attacked(data, memo=None, net=None, **changes):
    made = flat() if net is None else net
    surrogate = Surrogate(lambda: made, memo or Memo())
    return GradientCanceling(**SETTINGS | changes).poison(data, surrogate)


def values(data, left, net=None, **changes):
    """F of the images as drawn, and of those that were handed in."""
    told = SETTINGS | changes
    target = copy.deepcopy(net or flat())
    clean = everything(data.train, batch_size=16)
    corrupt(target, clean, told["eps_w"], 1.0)
    weights = chosen(target, told["layers"])
    F_of = Canceling(target, weights, gradient(target, weights, clean), 100)
    y = left.train.y[left.indices]
    drawn = attacked(data, net=net, **changes | {"steps": 1, "lr": 1e-12})
    return tuple(F_of(as_float(p.train.x[p.indices]), y)[0].item() for p in (drawn, left))


def some(n=9, inputs=5, classes=3):
    """(net, x, y, clean x, clean y) of random vectors."""
    coin = torch.Generator().manual_seed(0)
    net = nn.Linear(inputs, classes)
    net.weight.data = torch.randn(classes, inputs, generator=coin)
    net.bias.data = torch.randn(classes, generator=coin)
    x, clean = (torch.rand(k, inputs, generator=coin) for k in (n, 20))
    return net, x, torch.arange(n) % classes, clean, torch.arange(20) % classes


def by_hand(net, x, y):
    """(K, d + 1): sum of (p - onehot(y)) h', the bias being the weight of a 1."""
    h = torch.cat([x, torch.ones(len(x), 1)], 1)
    p = (x @ net.weight.T + net.bias).softmax(1)
    return (p - F.one_hot(y, p.shape[1])).T @ h


@pytest.mark.parametrize("size", [4, 9, 100])
def test_f_is_the_closed_form_of_a_linear_softmax_model_and_its_slope_is_that_ones(size):
    net, x, y, clean, labels = some()
    weights = chosen(net, "all")
    G_c = gradient(net, weights, [(clean, labels)])
    found, slope = Canceling(net, weights, G_c, size)(x, y)
    leaf = x.clone().requires_grad_()
    expected = (by_hand(net, clean, labels) + by_hand(net, leaf, y)).square().sum()
    torch.testing.assert_close(found, expected.detach())
    torch.testing.assert_close(slope, torch.autograd.grad(expected, leaf)[0])


def test_the_clean_part_is_0_at_a_clean_optimum_of_a_convex_model():
    net, _, _, clean, labels = some()
    fit = torch.optim.LBFGS(net.parameters(), max_iter=500, tolerance_grad=1e-9)

    def loss():
        fit.zero_grad()
        value = F.cross_entropy(net(clean), labels, reduction="sum")
        value.backward()
        return value

    start = squared(gradient(net, chosen(net, "all"), [(clean, labels)])).item()
    fit.step(loss)
    assert squared(gradient(net, chosen(net, "all"), [(clean, labels)])).item() < 1e-6 * start


@pytest.mark.parametrize("layers", ["last_linear", "first_conv", "all"])
def test_batches_change_nothing_but_memory(layers):
    net = classifier(SMALL["ResNet9"], 3, 16, 16).net.eval()
    x, y = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 4
    weights = chosen(net, layers)
    G_c = gradient(net, weights, [(x.flip(3), y)])
    (one, slope), (other, parted) = (Canceling(net, weights, G_c, n)(x, y) for n in (6, 4))
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(slope, parted, rtol=1e-3, atol=1e-4 * slope.abs().max().item())


def test_the_layers_that_can_be_cancelled():
    net = classifier(SMALL["ResNet9"], 3, 16, 16).net
    named = {id(w): name for name, w in net.named_parameters()}

    def names(layers):
        return [named[id(w)] for w in chosen(net, layers)]

    assert names("last_linear") == names("fc") == names("fc.weight") == ["fc.weight"]
    assert names("first_conv") == ["conv1.0.weight", "conv1.0.bias"]
    assert names("all") == list(named.values())
    assert {name.split(".")[0] for name in names("res1")} == {"res1"}


@pytest.mark.parametrize("layers", ["nowhere", "f", ""])
def test_a_layer_that_does_not_exist_is_told_with_those_that_do(layers):
    net = classifier(SMALL["ResNet9"], 3, 16, 16).net
    with pytest.raises(BadInput, match=rf"poison.layers={layers} is no .* ResNet9.*conv1.0.*fc$"):
        chosen(net, layers)


def test_a_net_without_a_convolution_has_no_first_one():
    with pytest.raises(BadInput, match=r"first_conv is no layer of Sequential.*: 1$"):
        chosen(flat(), "first_conv")


@given(st.floats(1e-3, 100), st.floats(1e-3, 100))
def test_the_target_lies_no_further_than_eps_w_from_the_clean_net(eps_w, lr):
    net, x, y, *_ = some()
    before = state(net)
    corrupt(net, everything(Samples(x, y), batch_size=2), eps_w, lr)
    a = torch.cat([(w - before[name]).flatten() for name, w in state(net).items()])
    assert 0 < a.norm().item() <= eps_w * (1 + 1e-3) + 1e-5


def test_the_target_has_a_higher_loss_and_nothing_moves_where_there_is_no_slope():
    net, x, y, *_ = some()
    before = F.cross_entropy(net(x), y).item()
    corrupt(net, everything(Samples(x, y), batch_size=3), 1.0, 1.0)
    assert F.cross_entropy(net(x), y).item() > before + 0.1
    net.weight.data.zero_()
    net.bias.data = torch.tensor([1e4, 0.0, 0.0])
    certain = state(net)
    corrupt(net, everything(Samples(x, torch.zeros_like(y))), 1.0, 1.0)
    assert same(certain, state(net))


@given(
    st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4),
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=4, max_size=4),
    st.floats(1e-3, 1e3),
    st.integers(0, 11),
    st.sampled_from(["sign", "gradient"]),
)
def test_every_step_stays_in_the_box_and_goes_down_hill(x, slope, lr, step, direction):
    x, slope = torch.tensor(x), torch.tensor(slope)
    moved = Descent(**DESCENT | {"lr": lr, "direction": direction}).stepped(x, slope, step)
    assert ((moved >= 0) & (moved <= 1)).all()
    assert ((moved - x) * slope <= 0).all()


@pytest.mark.parametrize("direction", ["sign", "gradient"])
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_f_falls_in_the_box(tiny, direction, schedule):
    how = {"direction": direction, "schedule": schedule, "steps": 30}
    how["lr"] = 0.02 if direction == "sign" else 3e-4
    start, end = values(tiny, attacked(tiny, **how), **how)
    assert end < 0.9 * start


@pytest.mark.parametrize("layers", ["last_linear", "first_conv", "all"])
def test_f_falls_for_any_layers_of_a_deep_net(tiny, layers):
    net = classifier(SMALL["ResNet9"], 3, 12, 12).net.eval()
    how = {"layers": layers, "steps": 6, "lr": 0.02}
    start, end = values(tiny, attacked(tiny, net=net, **how), net=net, **how)
    assert end < 0.95 * start


def test_added_rows_stand_behind_the_clean_ones_with_a_true_label_of_their_own(tiny):
    left = attacked(tiny)
    n, m = len(tiny.train), 12
    assert torch.equal(left.indices, torch.arange(n, n + m))
    assert len(left.train) == len(left.truth) == n + m
    assert torch.equal(left.train.x[:n], tiny.train.x)
    assert torch.equal(left.train.y[:n], tiny.train.y)
    assert torch.equal(left.truth, left.train.y)
    assert left.train.x.dtype == torch.uint8
    drawn = attacked(tiny, steps=1, lr=1e-12)
    assert torch.equal(left.train.y, drawn.train.y)  # labels never change
    assert (left.train.x[n:] != drawn.train.x[n:]).flatten(1).any(1).all()
    places = (drawn.train.x[n:, None] == tiny.train.x[None]).flatten(2).all(2)
    assert (places.sum(1) == 1).all()
    assert torch.equal(tiny.train.y[places.int().argmax(1)], drawn.train.y[n:])


def test_without_projection_all_images_are_floats_and_the_added_ones_leave_the_box(tiny):
    left = attacked(tiny, project=False, lr=0.5)
    assert left.train.x.dtype == torch.float32
    assert torch.equal(left.train.x[:60], as_float(tiny.train.x))
    added = left.train.x[60:]
    assert added.min() < -0.1
    assert added.max() > 1.1


def test_the_surrogate_stays_as_it_is_and_the_same_seed_gives_the_same_bits(tiny):
    net = flat()
    left = attacked(tiny, net=net)
    assert same(state(net), state(flat()))
    assert torch.equal(left.train.x, attacked(tiny).train.x)
    other = attacked(tiny, seed=1)
    assert not torch.equal(left.train.y, other.train.y)


class Killed(Exception):
    pass


class Counting(Memo):
    """Remembers; counts what is computed, and dies before computing for the `last` time."""

    def __init__(self, place, last=math.inf):
        self.inner, self.made, self.last = Remembered(Store(place), "here"), [], last

    def tensors(self, work, net, loaders, compute):
        def counted():
            self.made.append(work.what["part"])
            if len(self.made) == self.last:
                raise Killed
            return compute()

        assert work.kind == "crafting"
        return self.inner.tensors(work, net, loaders, counted)


ALL = ["target", "steps from 0", "steps from 5", "steps from 10"]


def test_a_second_crafting_is_looked_up(tiny, tmp_path):
    first, second = Counting(tmp_path), Counting(tmp_path)
    left = attacked(tiny, first)
    assert first.made == ALL
    assert torch.equal(attacked(tiny, second).train.x, left.train.x)
    assert second.made == []
    assert torch.equal(attacked(tiny).train.x, left.train.x)


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_killed_crafting_goes_on_from_the_last_segment_that_was_kept(tiny, tmp_path, at):
    with pytest.raises(Killed):
        attacked(tiny, Counting(tmp_path, last=at))
    again = Counting(tmp_path)
    assert torch.equal(attacked(tiny, again).train.x, attacked(tiny).train.x)
    assert again.made == ALL[at - 1 :]


@pytest.mark.parametrize(
    "change", [{"lr": 0.2}, {"eps_w": 0.4}, {"layers": "all"}, {"rate": 0.3}, {"seed": 1}]
)
def test_what_was_crafted_otherwise_is_not_looked_up(tiny, tmp_path, change):
    attacked(tiny, Counting(tmp_path))
    other = Counting(tmp_path)
    left = attacked(tiny, other, **change)
    assert other.made == ALL
    assert torch.equal(left.train.x, attacked(tiny, **change).train.x)


def test_it_stops_where_f_is_small_enough(tiny, tmp_path):
    memo = Counting(tmp_path)
    drawn = attacked(tiny, steps=1, lr=1e-12)
    assert torch.equal(attacked(tiny, memo, stop=1e30).train.x, drawn.train.x)
    assert memo.made == ALL[:2]


def test_segments_do_not_change_what_is_crafted(tiny):
    assert torch.equal(attacked(tiny, segment=12).train.x, attacked(tiny, segment=1).train.x)


REFUSED = {
    "rate": [0, -0.1, 1.5],
    "eps_w": [0, -1, math.inf, math.nan],
    "ascent": [0],
    "lr": [0, -0.1],
    "steps": [0, 1.5],
    "segment": [0],
    "batch_size": [0],
    "ascent_batch_size": [-1],
    "stop": [-1],
    "schedule": ["step"],
    "direction": ["adam"],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in REFUSED.items() for v in vs])
def test_bad_numbers_are_refused_when_it_is_built(name, value):
    with pytest.raises(BadInput, match=rf"poison\.{name}={value}"):
        GradientCanceling(**SETTINGS | {name: value})


def test_the_victim_sees_all_rows_and_the_ceiling_only_the_clean_ones(tiny):
    left = attacked(tiny)
    loader = training(tiny, left, 16, 0)
    assert loader.count == 72
    assert torch.equal(unpoisoned(loader, left).rows, torch.arange(60))


VERDICT = Regained("test/accuracy")


def measured(share):
    return {"test/accuracy": share}


@pytest.mark.parametrize(("after", "healed"), [(0.8, 1.0), (0.7, 0.0), (0.75, 0.5), (0.6, -1.0)])
def test_healed_is_the_share_of_the_way_to_a_net_that_never_saw_the_poison(after, healed):
    found = VERDICT(measured(0.7), measured(after), measured(0.8))
    assert found["healed"] == found["recovered"] == pytest.approx(healed)
    assert found["residual"] == pytest.approx(1 - healed)
    assert found["accuracy_drop"] == pytest.approx(0.7 - after)
    assert found["clean_accuracy_ceiling"] == found["harmed_accuracy_ceiling"] == 0.8
    assert objective(found) == pytest.approx(healed - 0.7 + after)


@pytest.mark.parametrize("best", [None, 0.705, 0.6])
def test_nothing_can_heal_without_a_ceiling_or_where_less_than_a_point_was_taken(best):
    found = VERDICT(measured(0.7), measured(0.75), None if best is None else measured(best))
    assert found["healed"] is None
    assert found["residual"] is None
    assert found["accuracy_drop"] == pytest.approx(-0.05)


def test_its_numbers_are_in_the_table():
    assert VERDICT(measured(0.7), measured(0.8), measured(0.9)).keys() <= table().keys()


SHORT = [
    "dataset=digits",
    "dataset.limit=300",
    "model=linear",
    "model.net.side=8",
    "recipe.epochs=3",
    "recipe.batch_size=32",
    "recipe.schedule.max_lr=0.02",
    "threads=1",
    "poison=gradient_canceling",
    "poison.rate=0.1",
    "poison.steps=20",
    "poison.segment=10",
]


@pytest.fixture
def short(run):
    return partial(run, small=SHORT)


def test_a_run_counts_added_rows(short):
    left = short("ceiling=true", "discovery=100pct", "unlearning=retrain")
    assert (left["n_train"], left["n_poisoned"], left["n_known"]) == (330, 30, 30)
    assert left["poison_rate"] == pytest.approx(0.1)
    assert left["compute_fraction"] == pytest.approx(10 / 11, abs=0.05)  # of the clean rows
    with np.load(left.folder / "poison.npz") as poison:
        assert poison["indices"].tolist() == list(range(300, 330))
        assert (poison["label"] == poison["true_label"]).all()
    with np.load(left.folder / "samples.npz") as samples:
        shown = {name.split("/")[0] for name in samples.files}
        kind = "poisoned training"
        assert (samples[f"{kind}/true"] == samples[f"{kind}/stored"]).all()
    assert shown == {"clean test", "poisoned training"}
    assert left["clean_accuracy_ceiling"] == left["ceiling"]["test/accuracy"]
    lost = left["clean_accuracy_ceiling"] - left["clean_accuracy_before"]
    assert (left["healed"] is None) == (lost < 0.01 - 1e-9)


@pytest.mark.parametrize("tracing", ["features", "confidence", "influence"])
def test_tracers_and_methods_take_rows_behind_the_clean_ones(short, tracing):
    left = short(f"tracing={tracing}", "discovery=50pct", "unlearning=finetune")
    assert left["status"] == "ok"
    assert (left["n_poisoned"], left["n_known"]) == (30, 15)
    traced = left.folder / "traced.npz"
    if traced.exists():
        with np.load(traced) as found:
            assert len(found["candidates"]) == len(found["scores"]) == 315


def test_a_suspect_may_be_an_added_row_and_none_behind_them(short):
    left = short("discovery=ids", "discovery.ids=[3,329]", "unlearning=finetune")
    assert left["n_known"] == 2
    with pytest.raises(SystemExit, match="names sample 330 but the ids go from 0 to 329"):
        short("discovery=ids", "discovery.ids=[330]", "unlearning=finetune")


def test_images_outside_of_the_box_go_the_whole_route(short):
    assert short("poison.project=false", "poison.lr=0.5", "unlearning=finetune")["status"] == "ok"


def test_a_layer_that_does_not_exist_is_refused_before_a_net_is_fitted(short, tmp_path):
    with pytest.raises(SystemExit, match=r"poison\.layers=conv is no layer of Linear"):
        short("poison.layers=conv", "unlearning=none")
    assert not list((tmp_path / "output/store").glob("victims/*"))


def test_a_linear_net_loses_accuracy_to_it(short):
    """Beside a net that never saw the poison; more images than a benchmark adds."""
    left = short("ceiling=true", "unlearning=none", "poison.rate=0.3", "poison.eps_w=4")
    assert left["ceiling"]["test/accuracy"] - left["before"]["test/accuracy"] > 0.03
    assert left["residual"] == 1
