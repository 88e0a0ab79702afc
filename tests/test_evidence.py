"""Ratios, their percentile, and the edit of selected weights."""

import warnings
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import nn
from waits import Waits

from antidote.core import Diverged
from antidote.unlearning import ranking
from antidote.unlearning.evidence import Evidence


def net_of(**weights):
    net = nn.Module()
    for name, w in weights.items():
        net.register_parameter(name, nn.Parameter(w.clone(memory_format=torch.preserve_format)))
    return net


def measured(theta, I_f, I_r, strength=1.0):
    """Evidence from tensors by name."""
    facts = {"frac": 0.1, "strength": strength, "sample_gradients": 0}
    return Evidence.of(net_of(**theta), I_f, I_r, **facts)


def evidence(theta, I_f, I_r, strength=1.0):
    """Of the one tensor `weight`, (1, n)."""
    lists = ({"weight": torch.tensor([v], dtype=torch.float32)} for v in (theta, I_f, I_r))
    return measured(*lists, strength)


def edited(found, *alphas):
    """Weights after edits by these cutoffs in turn, and the last share."""
    net = nn.Linear(len(found.theta), 1, bias=False)
    share = [found.edit(net, alpha) for alpha in alphas][-1]
    return net.weight.flatten().tolist(), share


#           0/0   x/0   r<1   r=.5  r=2   r=.25
THETA = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]
I_F = [0.00, 3.00, 0.75, 0.50, 4.00, 1.00]
I_R = [0.00, 0.00, 1.00, 1.00, 2.00, 4.00]


def test_six_weights_are_edited_as_by_hand():
    # alpha = 0.5 selects x/0 (to 0), r=0.75 (factor min(1/0.75, 1) = 1) and r=2 (factor 2/4)
    weights, _ = edited(evidence(THETA, I_F, I_R), 0.5)
    assert weights == [10.0, 0.0, 30.0, 40.0, 25.0, 60.0]


def test_the_share_counts_selected_weights_even_where_the_factor_is_1():
    assert edited(evidence(THETA, I_F, I_R), 0.5)[1] == 3 / 6  # r = alpha is not among them


def test_a_ratio_equal_to_the_cutoff_is_not_selected():
    assert edited(evidence(THETA, I_F, I_R), 2.0) == ([10.0, 0.0, 30.0, 40.0, 50.0, 60.0], 1 / 6)


def test_strength_multiplies_the_factor_and_1_caps_it():
    # lambda = 3: r = 2 gives min(3 * 2/4, 1) = 1, r = 4 gives 3 * 1/4
    assert edited(evidence([8.0, 8.0], [4.0, 4.0], [2.0, 1.0], strength=3.0), 1.5) == (
        [8.0, 6.0],
        1.0,
    )


def test_a_small_strength_shrinks_ratios_below_1_too():
    # lambda = 0.25: r = 0.5 gives 0.25 * 1/0.5 = 0.5
    assert edited(evidence([8.0, 8.0], [0.5, 0.5], [1.0, 1.0], strength=0.25), 0.1) == (
        [4.0, 4.0],
        1.0,
    )


def test_negative_weights_shrink_toward_zero():
    assert edited(evidence([-8.0, -8.0], [4.0, 1.0], [1.0, 0.0]), 1.0)[0] == [-2.0, 0.0]


@pytest.mark.parametrize("first", [0.01, 0.5, 3.0])
def test_each_edit_starts_from_theta_again(first):
    found = evidence(THETA, I_F, I_R)
    assert edited(found, first, 1.0) == edited(found, 1.0)


def test_an_edit_leaves_theta_as_it_was():
    found = evidence(THETA, I_F, I_R)
    edited(found, 0.1)
    assert found.theta.tolist() == THETA


def test_weights_of_zero_over_zero_are_never_selected():
    assert edited(evidence([7.0], [0.0], [0.0]), 0.0) == ([7.0], 0.0)


def test_the_weights_with_an_infinite_ratio_are_counted():
    assert evidence(THETA, I_F, I_R).infinite == 1


def test_buffers_are_not_edited():
    net = nn.BatchNorm1d(2)
    net.running_mean.fill_(5.0)
    before = {n: b.clone() for n, b in net.named_buffers()}
    w = {n: p.detach().clone() for n, p in net.named_parameters()}
    measured(w, {n: torch.ones(2) for n in w}, {n: torch.zeros(2) for n in w}).edit(net, 1.0)
    assert net.weight.tolist() == [0.0, 0.0]
    assert all(torch.equal(b, before[n]) for n, b in net.named_buffers())


def plain(theta, I_f, I_r, strength, alpha):
    """(weights, share) of an edit of all weights from theta, nothing remembered."""
    spare = (alpha * I_r).ge_(I_f)  # 1.0 unless I_f > alpha I_r, then 0.0
    factor = (strength * I_r).div_(I_f).clamp_(max=1).nan_to_num_()
    return theta * torch.maximum(spare, factor), 1 - spare.mean(dtype=torch.float64).item()


def bits(t):
    return t.detach().contiguous().view(torch.int32)


# ties, 0/0, x/0, 0/x, and products that no normal float can hold
SMALL = st.sampled_from([0.0, 1e-45, 2.8e-45, 4.2e-45, 1e-40, 1.2e-38, 0.5, 1.0, 2.0, 3.0])
IMPORTANCE = SMALL | st.floats(0, 2.0**127, width=32)
WEIGHT = st.tuples(st.floats(-9, 9, width=32), IMPORTANCE, IMPORTANCE)
ALPHA = st.floats(0, 2.0**127) | st.floats(0, 10)


@given(st.data(), st.lists(WEIGHT, min_size=1, max_size=80), st.booleans())
def test_any_sequence_of_cutoffs_and_nets_gives_the_bits_of_a_first_edit(data, weights, host):
    theta, I_f, I_r = torch.tensor(weights, dtype=torch.float32).T.contiguous()
    at = (I_f / I_r)[(I_r > 0) & (I_f < 1e38 * I_r)]  # where a rounding error would show
    close = torch.cat([at, at.nextafter(at + 1), at.nextafter(-at), at / 2])
    alphas = st.lists(ALPHA | st.sampled_from([1.0, *close.clamp(min=0).tolist()]), max_size=8)
    strength = data.draw(st.sampled_from([0.25, 1.0, 3.0]))
    nets = [net_of(weight=torch.zeros_like(theta)) for _ in range(2)]
    with patch.object(ranking, "on_host", lambda t: host):  # else as on a GPU
        found = measured({"weight": theta}, {"weight": I_f}, {"weight": I_r}, strength)
        for alpha in data.draw(alphas):
            net = data.draw(st.sampled_from(nets))
            share = found.edit(net, alpha)
            expected, expected_share = plain(theta, I_f, I_r, strength, alpha)
            assert torch.equal(bits(net.weight), bits(expected))
            assert share == pytest.approx(expected_share, abs=1e-12)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8), st.booleans())
@example([100.0, 0.0, 99.0, 50.0, 51.0], True)
def test_a_search_over_percentiles_of_many_weights_gives_the_bits_of_first_edits(path, host):
    coin = torch.Generator().manual_seed(0)
    theta, I_f, I_r = torch.randn(3, 2000, generator=coin).abs_().unbind()
    I_f[::50], I_r[::70] = 0, 0
    net = net_of(weight=torch.zeros_like(theta))
    with patch.object(ranking, "on_host", lambda t: host):
        found = measured({"weight": theta}, {"weight": I_f}, {"weight": I_r})
        for p in path:
            alpha = found.percentile(p)
            found.edit(net, alpha)
            assert torch.equal(bits(net.weight), bits(plain(theta, I_f, I_r, 1.0, alpha)[0]))


def test_a_try_looks_only_at_the_weights_that_its_cutoff_adds_or_takes_away(monkeypatch):
    ones, touched = torch.ones(1000), []
    net = net_of(weight=ones)
    found = measured({"weight": ones}, {"weight": torch.arange(1.0, 1001.0)}, {"weight": ones})
    dampened = found.dampened
    monkeypatch.setattr(
        found, "dampened", lambda places, a: touched.append(len(places)) or dampened(places, a)
    )
    for alpha in (990.0, 980.0, 970.5, 985.0, 985.0):
        found.edit(net, alpha)
    # the weight at the cutoff itself is compared, and again when the next cutoff leaves it behind
    assert touched == [11, 11, 10, 15, 1]


def test_no_more_than_a_part_of_the_ratios_is_sorted_for_a_mild_cutoff():
    ones = torch.ones(8000)
    found = measured({"w": ones}, {"w": torch.rand(8000)}, {"w": ones})
    found.edit(net_of(w=ones), found.percentile(99.9))
    assert len(found.ranking.order) == 1000


SHAPES = {"scalar": (), "line": (7,), "flat": (1, 9), "tall": (9, 2), "filters": (5, 3, 2, 2)}


def test_weights_of_any_shape_and_layout_are_edited_alike():
    coin = torch.Generator().manual_seed(0)
    theta, I_f, I_r = (
        {n: torch.rand(s, generator=coin) for n, s in SHAPES.items()} for _ in range(3)
    )
    theta["filters"] = theta["filters"].to(memory_format=torch.channels_last)
    I_f["tall"] = I_f["tall"].T.contiguous().T
    found = measured(theta, I_f, I_r, 0.75)
    for layout in (torch.channels_last, torch.contiguous_format):
        net = net_of(**{n: torch.zeros(s) for n, s in SHAPES.items()})
        net.filters.data = net.filters.data.to(memory_format=layout)
        for alpha in (0.9, 0.2, 1.5):
            share = found.edit(net, alpha)
            chosen = {n: I_f[n] > alpha * I_r[n] for n in theta}
            for n, w in net.named_parameters():
                dampened = (0.75 * I_r[n] / I_f[n]).clamp(max=1) * theta[n]
                assert torch.equal(w, torch.where(chosen[n], dampened, theta[n])), n
            # 1 + 7 + 9 + 18 + 60
            assert share == sum(int(c.sum()) for c in chosen.values()) / 95


def test_weights_of_another_type_keep_their_bits_where_they_are_not_selected():
    theta = {"a": torch.rand(50, dtype=torch.float64), "b": torch.rand(50).bfloat16()}
    I_f, I_r = ({n: torch.rand(50) for n in theta} for _ in range(2))
    net = net_of(**theta)
    measured(theta, I_f, I_r).edit(net, 1.0)
    for n, w in net.named_parameters():
        assert w.dtype == theta[n].dtype
        spared = I_f[n] <= I_r[n]
        assert torch.equal(w[spared], theta[n][spared])


def test_an_edit_is_seen_by_the_autocast_around_it():
    net = nn.Linear(2, 1, bias=False)
    found = evidence([8.0, 8.0], [4.0, 1.0], [1.0, 1.0])
    x = torch.ones(1, 2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        net(x)  # it remembers the weights in half precision
        found.edit(net, 2.0)
        assert net(x).item() == 10.0


@pytest.mark.parametrize("tensors", [1, 20])
def test_an_edit_waits_once_however_many_tensors_it_changes(monkeypatch, tensors):
    theta, I_f, I_r = ({f"w{i}": torch.rand(30) for i in range(tensors)} for _ in range(3))
    waits = Waits(monkeypatch)
    found, net = measured(theta, I_f, I_r), net_of(**theta)
    found.edit(net, found.percentile(90))
    waits.count = 0
    for p in (80, 60, 30, 70):
        found.edit(net, found.percentile(p))
    assert waits.count == 4


def test_the_ratios_of_all_layers_are_pooled_without_nan_and_inf():
    I_f = {"a": torch.tensor([[3.0, 0.0]]), "b": torch.tensor([1.0, 5.0])}
    I_r = {"a": torch.tensor([[2.0, 0.0]]), "b": torch.tensor([4.0, 0.0])}
    found = measured(I_f, I_f, I_r)
    assert [found.percentile(p) for p in (0, 50, 100)] == [0.25, 0.875, 1.5]


# (I_f, I_r) of one weight: a finite ratio, 0/0 or x/0
FINITE = st.tuples(st.floats(0, 1e6, width=32), st.floats(0.125, 1e6, width=32))
UNDEFINED = st.sampled_from([(0.0, 0.0), (1.0, 0.0)])


@given(FINITE, st.lists(FINITE | UNDEFINED, max_size=60), st.floats(0, 100))
def test_the_percentile_is_numpys_nanpercentile_of_the_finite_ratios(first, others, p):
    I_f, I_r = np.array([first, *others], dtype=np.float32).T
    found = evidence(I_f.tolist(), I_f.tolist(), I_r.tolist())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ratios = (I_f / I_r).astype(np.float64)  # numpy rounds p to the array's own type
    ratios[np.isinf(ratios)] = np.nan
    expected = np.nanpercentile(ratios, p, method="linear")
    assert found.percentile(p) == pytest.approx(expected, rel=1e-6, abs=1e-37)


@pytest.mark.parametrize(
    ("p", "expected"), [(0, 1.0), (25, 2.0), (40, 5.0), (75, 32.0), (90, 38.0), (100, 42.0)]
)
def test_the_percentile_interpolates_linearly(p, expected):
    # h = 4 p/100 of five finite ratios;
    # p=40: h=1.6, 2 + 0.6 * (7 - 2); p=90: h=3.6, 32 + 0.6 * (42 - 32)
    I_f, I_r = [42.0, 2.0, 1.0, 0.0, 32.0, 1.0, 7.0], [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    assert evidence([0.0] * 7, I_f, I_r).percentile(p) == pytest.approx(expected)


def test_no_finite_ratio_at_all_is_an_error():
    with pytest.raises(Diverged, match="finite importance ratio"):
        evidence([1.0], [1.0], [0.0]).percentile(50)


@pytest.mark.slow
def test_the_percentile_of_more_than_16_million_ratios_is_numpys():
    # torch.quantile refuses so many, and a float32 cannot count them
    coin = torch.Generator().manual_seed(0)
    I_f = torch.empty(17_000_001).exponential_(generator=coin).exp_()  # far apart at the top
    found = measured({"w": I_f}, {"w": I_f}, {"w": torch.ones_like(I_f)})
    for p in (99.99992, 99.9608, 55.7):
        assert found.percentile(p) == pytest.approx(
            np.nanpercentile(I_f.numpy().astype(np.float64), p), rel=1e-6
        )
