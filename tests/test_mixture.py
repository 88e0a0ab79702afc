"""A tail beside a bulk: known answers, and none where there is none."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import norm

from antidote.tracing.mixture import BINS, Tail, histogram, tail

BULK, FAR, WHERE, WIDTH = 5000, 100, 12.0, 0.5
QUANTILES = torch.tensor([0.8, 0.9, 0.95, 0.98, 0.995], dtype=torch.float64)


def drawn(seed=0, bulk=BULK, far=FAR, where=WHERE, width=WIDTH):
    """`bulk` values of N(0, 1), then `far` of N(where, width)."""
    z = torch.from_numpy(np.random.default_rng(seed).standard_normal(bulk + far))
    return torch.cat([z[:bulk], where + width * z[bulk:]])


def begun(values):
    """The tail from where `Search` has it begin."""
    return tail(values, values.quantile(QUANTILES))


@pytest.mark.parametrize("starts", [[12.0], [6.0], [3.0, 12.0], [-5.0, torch.tensor(12.0)]])
def test_a_tail_far_away_is_found_to_the_row(starts):
    found = tail(drawn(), starts)
    assert found.rows.tolist() == [False] * BULK + [True] * FAR
    # of the means, in root mean square deviations of the two
    assert found.distance == pytest.approx(WHERE / math.sqrt((1 + WIDTH**2) / 2), rel=0.05)
    assert found.sure > 0.999
    assert found.apart(8.0)


def test_the_distance_takes_the_bulk_with_all_its_width():
    """Of two widths, in shares 4 : 1; the variance of the bulk is theirs."""
    rng = np.random.default_rng(0)
    bulk = np.concatenate([rng.normal(0, 1, 8000), rng.normal(0, 4, 2000)])
    values = torch.from_numpy(np.concatenate([bulk, rng.normal(60, 2, 300)]))
    deviation = math.sqrt(((8000 * 1 + 2000 * 16) / 10000 + 4) / 2)
    assert tail(values, [60.0]).distance == pytest.approx(60 / deviation, rel=0.05)


def likelihood(x, weights, means, deviations):
    parts = [
        np.log(w) + norm.logpdf(x, m, s) for w, m, s in zip(weights, means, deviations, strict=True)
    ]
    return logsumexp(parts, axis=0).mean()


def best_likelihood(x, start, means):
    """The maximum over softmax'd weights, free means and log deviations, by scipy alone.

    `means`: how many; the first one is that of the first two components.
    """
    k = means + 1

    def loss(p):
        m, s, w = p[:means], np.exp(p[means : means + k]), np.exp(p[means + k :])
        return -likelihood(x, w / w.sum(), [m[0], *m], s)

    return -minimize(loss, start, method="L-BFGS-B", options={"maxiter": 500}).fun


def test_the_gain_is_that_of_bic_by_direct_computation():
    values = drawn(where=6.0)
    x, n = values.numpy(), len(values)
    share = FAR / n
    bulk = best_likelihood(x, [0.0, 0.0, 0.9, math.log(1 - share), math.log(share)], 1)
    ends = [0.0, 6.0, 0.0, 0.1, math.log(WIDTH), math.log(0.9), math.log(0.09), math.log(share)]
    both = best_likelihood(x, ends, 2)
    # k ln n - 2 ln L with k = 4 and with k = 7, per value
    gain = ((4 * math.log(n) - 2 * n * bulk) - (7 * math.log(n) - 2 * n * both)) / n
    assert gain > 0.05
    assert tail(values, [6.0]).gain == pytest.approx(gain, abs=3e-4)


def test_a_tail_that_is_none_is_worth_less_than_nothing():
    """What three parameters cost."""
    found = begun(drawn(far=0))
    assert -3 * math.log(BULK) / BULK - 1e-6 <= found.gain < 0
    assert not found.apart(8.0)


@pytest.mark.parametrize("n", [300, 1000, 3000])
def test_a_heavy_tailed_bulk_has_no_group_apart(n):
    """Student's t with 3 degrees of freedom, 50 draws.

    Up to three rows may be: `FEW` keeps them from being a group.
    """
    rng = np.random.default_rng(0)
    for _ in range(50):
        found = begun(torch.from_numpy(rng.standard_t(3, n)))
        assert not found.apart(8.0) or found.rows.sum() <= 3


def test_a_heavy_tailed_bulk_of_5000_stands_not_apart_at_all():
    rng = np.random.default_rng(1)
    assert not any(begun(torch.from_numpy(rng.standard_t(3, 5000))).apart(8.0) for _ in range(50))


def test_two_groups_that_overlap_are_not_sure():
    found = tail(drawn(where=2.0, width=1.0), [2.0])
    assert found.sure < 0.95
    assert not found.apart(0.1)


def test_apart_is_far_and_sure():
    rows = torch.ones(1, dtype=torch.bool)
    assert Tail(rows, 0.0, 8.0, 0.95).apart(8.0)
    assert not Tail(rows, 0.0, 7.9, 1.0).apart(8.0)
    assert not Tail(rows, 0.0, 20.0, 0.94).apart(8.0)


@pytest.mark.filterwarnings("ignore:std")  # of no values
@pytest.mark.parametrize(
    "values", [torch.ones(50), torch.arange(9.0), torch.empty(0), torch.zeros(1)]
)
def test_too_few_values_or_equal_ones_have_no_tail(values):
    found = tail(values, [0.5, 100.0])
    assert found.rows.shape == values.shape
    assert not found.rows.any()
    assert (found.gain, found.distance, found.sure) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("start", [-1.0, -100.0])
def test_nothing_begins_below_the_bulk(start):
    """Where a lower tail may be; nothing is fitted at all."""
    found = tail(-drawn(), [start])
    assert not found.rows.any()
    assert found.gain == 0


def test_a_tail_lies_above():
    assert not begun(-drawn()).rows.any()


@pytest.mark.parametrize(
    "values",
    [
        torch.cat([torch.zeros(500), torch.ones(20)]),
        torch.cat([torch.zeros(990), torch.full((10,), 1e12)]),
        torch.cat([torch.zeros(11), torch.tensor([1e-300])]),
        torch.arange(10.0),
    ],
    ids=["two values", "huge", "tiny", "ten"],
)
def test_what_is_found_are_numbers(values):
    found = begun(values.double())
    assert all(map(math.isfinite, (found.gain, found.distance, found.sure)))
    assert 0 <= found.sure <= 1


def test_two_values_are_told_apart():
    found = begun(torch.cat([torch.zeros(500), torch.ones(20)]).double())
    assert found.rows.nonzero().squeeze(1).tolist() == list(range(500, 520))


@settings(max_examples=10)
@given(
    shift=st.floats(-1e3, 1e3),
    scale=st.floats(1e-3, 1e3),
    seed=st.integers(0, 10**6),
    where=st.floats(0, 15),
)
def test_a_tail_stays_under_shift_and_positive_scale(shift, scale, seed, where):
    values = drawn(seed, bulk=300, far=20, where=where)
    one, other = begun(values), begun(scale * values + shift)
    # EM ends when it stands still to 1e-7: what rounding moves is smaller than this
    assert other.gain == pytest.approx(one.gain, abs=1e-4)
    assume(where > 8)  # nearer ones may end elsewhere for a value that changes its bin
    assert torch.equal(one.rows, other.rows)
    assert other.distance == pytest.approx(one.distance, rel=1e-2)


@settings(max_examples=50)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=200))
def test_bins_keep_the_count_and_a_value_is_near_its_bin(values):
    z = torch.tensor(values, dtype=torch.float64)
    assume(z.max() > z.min())
    at, count = histogram(z)
    assert count.sum() == len(z)
    assert (count > 0).all()
    assert len(at) <= BINS
    half = (z.max() - z.min()) / (BINS - 1) / 2
    assert ((z[:, None] - at).abs().min(1).values <= half * (1 + 1e-6)).all()
    assert (at * count).sum() == pytest.approx(z.sum().item(), abs=len(z) * half.item() * 1.01)


def test_the_cost_of_em_does_not_grow_with_the_data():
    at, _ = histogram(drawn(bulk=10**6))
    assert len(at) <= BINS
