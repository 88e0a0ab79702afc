"""PTN over each weight editor against the same search done the obvious way, nothing precomputed."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import nn

from antidote.core import Loader, Samples, Split, Victim

CONF = Path(__file__).parents[1] / "conf"
N, KNOWN, BATCH = (
    120,
    12,
    30,
)  # 108 others: three batches of 30 and one of 18; four, so that 1/4 is exact in floats

# method: loss of a batch, power of its gradient, cutoff by hand or None for the percentile
METHODS = {
    "ssd": (F.cross_entropy, 2, 10.0),
    "assd": (F.cross_entropy, 2, None),
    "lfssd": (lambda logits, y: (logits**2).sum(1).mean(), 1, 10.0),
    "alfssd": (lambda logits, y: (logits**2).sum(1).mean(), 1, None),
    "xlf": (lambda logits, y: logits.norm(dim=1).mean(), 1, None),
}


@pytest.fixture(scope="module")
def victim():
    """A trained MLP and its split.

    30 of 120 samples bear a bright first feature and the label 0; 12 are known.
    """
    coin = torch.Generator().manual_seed(0)
    x = torch.randn(N, 10, generator=coin)
    y = x[:, 1:5].argmax(1)
    x[:30, 0], y[:30] = 4.0, 0
    x[:, 8], x[:, 9] = 0, torch.arange(N) < KNOWN  # gives ratios 0/0 and x/0
    rows = torch.arange(N)
    split = Split(Loader(Samples(x, y), rows[:KNOWN]), Loader(Samples(x, y), rows[KNOWN:]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(10, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 4))
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net, split


def method(name):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [f"unlearning={name}_ptn", f"unlearning.method.batch_size={BATCH}"])
    return instantiate(cfg.unlearning)


def known_accuracy(net, split):
    x, y = split.forget.samples.x[:KNOWN], split.forget.samples.y[:KNOWN]
    with torch.no_grad():
        return (copy.deepcopy(net).eval()(x).argmax(1) == y).float().mean().item()


def plain_importance(net, batches, loss, power):
    net = copy.deepcopy(net).eval()
    total = [torch.zeros_like(w) for w in net.parameters()]
    for x, y in batches:
        net.zero_grad()
        loss(net(x), y).backward()
        total = [t + w.grad.abs() ** power for t, w in zip(total, net.parameters(), strict=True)]
    return [t / len(batches) for t in total]


def the_obvious_way(
    net, split, batches, loss, power, by_hand, lam=1.0, rho=0.2, start=25, growth=1.1
):
    """(net, tries, cutoff) of Potion's loop."""
    limit = rho * known_accuracy(net, split)
    I_r, I_f = (plain_importance(net, batches[which], loss, power) for which in ("I_r", "I_f"))
    frac = KNOWN / N / start
    for t in range(500):
        edited = copy.deepcopy(net)
        ratios = (
            torch.cat([(f / r).flatten() for f, r in zip(I_f, I_r, strict=True)]).double().numpy()
        )
        ratios[np.isinf(ratios)] = np.nan
        alpha = (
            np.nanpercentile(ratios, 100 - np.log(1 + 100 * frac))
            if by_hand is None
            else by_hand * start / growth**t
        )
        with torch.no_grad():
            for w, f, r in zip(edited.parameters(), I_f, I_r, strict=True):
                chosen = f > alpha * r
                w[chosen] *= torch.clamp(lam * r / f, max=1)[chosen]
        if known_accuracy(edited, split) <= limit:
            break
        frac *= growth
    return edited, t + 1, alpha


@pytest.fixture(scope="module", params=METHODS)
def both(request, victim):
    """(net, report) of ours, and (net, tries, cutoff) of the obvious way."""
    net, split = victim
    ptn = method(request.param)
    batches = {which: list(loader) for which, loader in ptn.method.loaders(split).items()}
    expected = the_obvious_way(net, split, batches, *METHODS[request.param])
    ours = Victim(copy.deepcopy(net), lambda: net)
    return ours.net, ptn.unlearn(ours, split), expected


def test_a_search_needs_as_many_tries(both):
    _, report, (_, tries, _) = both
    assert 1 < tries < 500  # else the search proves nothing
    assert report.search["tries"] == tries


def test_a_search_ends_at_the_same_cutoff(both):
    _, report, (_, _, alpha) = both
    assert report.search["cutoff"] == pytest.approx(alpha, rel=1e-6)


def test_a_search_leaves_the_same_bits(both):
    net, _, (expected, _, _) = both
    for name, w in net.state_dict().items():
        assert torch.equal(w, expected.state_dict()[name]), name


def test_a_search_changes_the_victim(both, victim):
    net, _, _ = both
    assert any(
        not torch.equal(w, v) for w, v in zip(net.parameters(), victim[0].parameters(), strict=True)
    )


def test_a_search_meets_infinite_ratios(both):
    assert both[1].search["infinite_ratios"] > 0
