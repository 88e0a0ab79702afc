"""From pressure to alpha, and the path of percentiles that PTN walks."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from antidote.core import BadInput
from antidote.unlearning.cutoff import Fixed, Percentile
from antidote.unlearning.evidence import Evidence
from antidote.unlearning.ptn import PTN

SETTINGS = {
    "rho": 0.2,
    "max_tries": 500,
    "pressure_max": None,
    "strategy": "scan",
    "augment": False,
    "seed": 0,
}
PATH = PTN(None, start=25, growth=1.1, **SETTINGS)


def evidence(ratios, frac=0.01):
    n = len(ratios)
    I_f, I_r = {"weight": torch.tensor([ratios])}, {"weight": torch.ones(1, n)}
    net = nn.Linear(n, 1, bias=False)
    return Evidence.of(net, I_f, I_r, frac=frac, strength=1.0, sample_gradients=0)


def percentile(pressure):
    return Percentile().alpha(evidence([1.0, 2.0]), pressure)[1]


@pytest.mark.parametrize(
    ("frac", "p"),
    [
        (0.0, 100.0),
        (0.01, 100 - math.log(2)),
        (0.1, 100 - math.log(11)),
        (1.0, 100 - math.log(101)),
    ],
)
def test_p_is_100_minus_ln_of_1_plus_100_frac(frac, p):
    assert percentile(frac) == pytest.approx(p, abs=1e-12)


def test_alpha_is_that_percentile_of_the_ratios():
    # frac = (e - 1)/100 gives p = 99; h = 200 * 0.99 = 198 into 0..200
    alpha, _ = Percentile().alpha(evidence([float(r) for r in range(201)]), (math.e - 1) / 100)
    assert alpha == pytest.approx(198)


def test_the_natural_pressure_of_percentile_is_the_known_share_of_the_training_set():
    assert Percentile().natural(evidence([1.0], frac=0.0125)) == 0.0125


def test_a_pressure_beyond_all_percentiles_gives_the_smallest_ratio():
    assert Percentile().alpha(evidence([3.0, 7.0]), 1e60)[0] == 3.0  # p = 100 - ln(1e62) < 0


@given(st.floats(1e-9, 1e9), st.floats(1e-9, 1e9))
def test_more_pressure_never_raises_alpha(one, other):
    found = evidence([float(r) for r in range(50)])
    for cutoff in (Percentile(), Fixed(10)):
        assert cutoff.alpha(found, max(one, other))[0] <= cutoff.alpha(found, min(one, other))[0]


def test_fixed_divides_alpha_by_the_pressure():
    assert Fixed(10).alpha(evidence([1.0]), 4.0) == (2.5, None)


def test_fixed_at_its_natural_pressure_is_alpha_itself():
    assert Fixed(10).alpha(evidence([1.0]), Fixed(10).natural(evidence([1.0])))[0] == 10.0


@pytest.mark.parametrize("value", [0, -1])
def test_a_cutoff_that_is_not_positive_is_refused(value):
    with pytest.raises(BadInput, match="must be positive"):
        Fixed(value)


@pytest.mark.parametrize(
    ("known", "t", "p"),
    [
        (500, 0, "99.9608"),  # frac 0.01/25 = 0.0004; ln 1.04 = 0.0392
        (500, 10, "99.90"),  # 1.1^10 = 2.594; ln 1.1037 = 0.0987
        (500, 34, "99.30"),  # 1.1^34 = 25.55; ln 2.022 = 0.704
        (500, 100, "93.7"),  # 1.1^100 = 13780.6; ln 552.2 = 6.314
        (500, 200, "84.2"),  # 1.1^200 = 1.899e8; ln 7.596e6 = 15.84
        (500, 499, "55.7"),  # 499 ln 1.1 + ln 0.04 = 47.56 - 3.22
        (1, 0, "99.99992"),  # frac 2e-5/25 = 8e-7; ln 1.00008 = 8e-5
        (1, 499, "61.9"),  # 47.56 + ln 8e-5 = 47.56 - 9.43
    ],
)
def test_the_path_of_a_search_over_50000_samples(known, t, p):
    assert f"{percentile(PATH.pressure(known / 50_000, t)):.{len(p.split('.')[1])}f}" == p


def test_34_tries_lead_from_the_start_back_to_the_natural_pressure():
    # 1.1^33 = 23.2 < 25 <= 1.1^34 = 25.5
    natural = 500 / 50_000
    assert np.argmax([PATH.pressure(natural, t) >= natural for t in range(500)]) == 34
