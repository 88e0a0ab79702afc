"""SSD with lambda in units of the cutoff is SSD with that lambda."""

import pytest
import torch
from torch import nn

from antidote.core import Loader, Samples, Split, Victim
from antidote.unlearning.cutoff import Fixed, Percentile
from antidote.unlearning.objective import squared_norm
from antidote.unlearning.relative import RelativeEditor
from antidote.unlearning.weight_editor import WeightEditor


def edited(kind, cutoff, strength):
    """(weights, evidence) of an edit of a small net."""
    coin = torch.Generator().manual_seed(0)
    samples = Samples(torch.rand(20, 6, generator=coin), torch.zeros(20, dtype=torch.int64))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    rows = torch.arange(20)
    split = Split(Loader(samples, rows[:4]), Loader(samples, rows[4:]))
    editor = kind(squared_norm, 1, cutoff, strength, 5, "retain", "batches", False, 0)
    editor.unlearn(Victim(net, lambda: net), split)
    return nn.utils.parameters_to_vector(net.parameters()), editor.measure(net, split)


@pytest.mark.parametrize("alpha", [0.8, 1.0, 1.2])
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0, 5.0])
def test_a_relative_strength_is_lambda_over_alpha(alpha, share):
    relative, _ = edited(RelativeEditor, Fixed(alpha), share)
    plain, _ = edited(WeightEditor, Fixed(alpha), share * alpha)
    assert torch.equal(relative, plain)


def test_a_relative_strength_counts_in_what_a_percentile_cuts_at():
    _, evidence = edited(RelativeEditor, Percentile(), 0.5)
    assert evidence.strength == 0.5 * Percentile().alpha(evidence, evidence.frac)[0]


def test_it_dampens_something():
    untouched, _ = edited(RelativeEditor, Fixed(1e9), 0.1)
    assert not torch.equal(edited(RelativeEditor, Fixed(1.0), 0.1)[0], untouched)
