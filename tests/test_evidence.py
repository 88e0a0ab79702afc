"""Ratios, their percentile, and the edit of selected weights."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from antidote.checks import Diverged
from antidote.unlearning import evidence as module
from antidote.unlearning.evidence import Evidence


def evidence(theta, I_f, I_r, strength=1.0):
    theta, I_f, I_r = (
        {"weight": torch.tensor([v], dtype=torch.float32)} for v in (theta, I_f, I_r)
    )
    return Evidence(theta, I_f, I_r, frac=0.1, strength=strength, sample_gradients=0)


def edited(found, *alphas):
    """Weights after edits by these cutoffs in turn, and the last share."""
    net = nn.Linear(found.theta["weight"].shape[1], 1, bias=False)
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
    assert found.theta["weight"].flatten().tolist() == THETA


def test_weights_of_zero_over_zero_are_never_selected():
    assert edited(evidence([7.0], [0.0], [0.0]), 0.0) == ([7.0], 0.0)


def test_the_weights_with_an_infinite_ratio_are_counted():
    assert evidence(THETA, I_F, I_R).infinite == 1


def test_buffers_are_not_edited():
    net = nn.BatchNorm1d(2)
    net.running_mean.fill_(5.0)
    before = {n: b.clone() for n, b in net.named_buffers()}
    w = {n: p.detach().clone() for n, p in net.named_parameters()}
    ones = {n: torch.ones(2) for n in w}
    Evidence(w, ones, {n: torch.zeros(2) for n in w}, 0.1, 1.0, 0).edit(net, 1.0)
    assert net.weight.tolist() == [0.0, 0.0]
    assert all(torch.equal(b, before[n]) for n, b in net.named_buffers())


SHAPES = {"scalar": (), "line": (7,), "flat": (1, 9), "tall": (9, 2), "filters": (5, 3, 2, 2)}


@pytest.mark.parametrize("block", [1, 4, 10**6])
def test_weights_of_any_shape_and_layout_are_edited_alike_in_blocks_of_any_size(monkeypatch, block):
    monkeypatch.setattr(module, "BLOCK", block)
    coin = torch.Generator().manual_seed(0)
    theta, I_f, I_r = (
        {n: torch.rand(s, generator=coin) for n, s in SHAPES.items()} for _ in range(3)
    )
    net = nn.Module()
    for n, s in SHAPES.items():
        net.register_parameter(n, nn.Parameter(torch.zeros(s)))
    net.filters.data = net.filters.data.to(memory_format=torch.channels_last)
    share = Evidence(theta, I_f, I_r, 0.1, 0.75, 0).edit(net, 0.9)
    chosen = {n: I_f[n] > 0.9 * I_r[n] for n in theta}
    for n, w in net.named_parameters():
        assert torch.equal(
            w, torch.where(chosen[n], (0.75 * I_r[n] / I_f[n]).clamp(max=1) * theta[n], theta[n])
        ), n
    assert share == sum(int(c.sum()) for c in chosen.values()) / 95  # 1 + 7 + 9 + 18 + 60


def test_the_ratios_of_all_layers_are_pooled_and_sorted_without_nan_and_inf():
    I_f = {"a": torch.tensor([[3.0, 0.0]]), "b": torch.tensor([1.0, 5.0])}
    I_r = {"a": torch.tensor([[2.0, 0.0]]), "b": torch.tensor([4.0, 0.0])}
    assert Evidence(I_f, I_f, I_r, 0.1, 1.0, 0).ratios.tolist() == [0.25, 1.5]


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
    found = Evidence({"w": I_f}, {"w": I_f}, {"w": torch.ones_like(I_f)}, 0.1, 1.0, 0)
    for p in (99.99992, 99.9608, 55.7):
        assert found.percentile(p) == pytest.approx(
            np.nanpercentile(I_f.numpy().astype(np.float64), p), rel=1e-6
        )
