"""Weight editors on the reference's net, against the plainest code that does the same.

What is compared with is written from the papers' formulas: a loop over batches and one over named
parameters, in which nothing of antidote.unlearning is used but the objects under test.
"""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from antidote.core import Loader, Samples, Split, Victim
from antidote.model.resnet9 import ResNet9
from antidote.unlearning import objective
from antidote.unlearning.cutoff import Fixed, Percentile
from antidote.unlearning.weight_editor import WeightEditor

MEAN, STD = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])
RETAINED, FORGOTTEN, BATCH, SEED = 40, 12, 16, 3


def split():
    """Random images; the known poison is of one class, as a trigger's would be."""
    coin = torch.Generator().manual_seed(0)
    x = torch.randint(256, (RETAINED + FORGOTTEN, 3, 32, 32), generator=coin, dtype=torch.uint8)
    y = torch.randint(10, (len(x),), generator=coin)
    y[RETAINED:] = 0
    rest, known = torch.arange(len(x)).split([RETAINED, FORGOTTEN])
    return Split(Loader(Samples(x, y), known), Loader(Samples(x, y), rest))


def trained():
    """As if trained: no weight and no batch statistic is at the 0 or 1 where it starts."""
    torch.manual_seed(1)
    net = ResNet9(10, MEAN, STD)
    with torch.no_grad():
        for w in net.parameters():
            w.mul_(1 + 0.1 * torch.randn_like(w)).add_(0.01 * torch.randn_like(w))
        for m in net.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.momentum = 1.0  # one pass sets the statistics
        for x, _ in split().retain:
            net(x)
    return net


def gradients(net, loader, loss):
    """One gradient of the batch mean for each batch, by name."""
    found = []
    for x, y in loader.with_(shuffle=True, batch_size=BATCH, seed=SEED):
        net.zero_grad()
        loss(net(x), y).backward()
        found.append({name: w.grad.clone() for name, w in net.named_parameters()})
    return found


def importance(net, loader, loss, power):
    """Mean over batches of |gradient|^power, by name."""
    of_batches = gradients(net, loader, loss)
    return {
        name: sum(of_batch[name].abs() ** power for of_batch in of_batches) / len(of_batches)
        for name, _ in net.named_parameters()
    }


def percentile(I_f, I_r):
    ratios = np.concatenate([(I_f[name] / I_r[name]).numpy().ravel() for name in I_f])
    ratios[np.isinf(ratios)] = np.nan
    p = 100 - math.log(1 + 100 * FORGOTTEN / (FORGOTTEN + RETAINED))
    return float(np.nanpercentile(ratios.astype(np.float64), p))


def plain(net, loss, power, alpha, strength):
    """By name: weights after the edit, and what those would be that a float's error may decide."""
    net.eval()
    I_r = importance(net, split().retain, loss, power)
    I_f = importance(net, split().forget, loss, power)
    alpha = percentile(I_f, I_r) if alpha is None else alpha
    edited, otherwise = {}, {}
    for name, w in net.named_parameters():
        chosen = I_f[name] > alpha * I_r[name]
        factor = strength * I_r[name] / I_f[name]
        factor[factor > 1] = 1
        dampened = w.detach() * factor
        edited[name] = torch.where(chosen, dampened, w.detach())
        doubtful = (I_f[name] / (alpha * I_r[name]) - 1).abs() < 1e-5
        assert doubtful.double().mean() < 1e-3
        other = torch.where(chosen, w.detach(), dampened)
        otherwise[name] = torch.where(doubtful, other, edited[name])
    return edited, otherwise


def cross_entropy(logits, y):
    return nn.CrossEntropyLoss()(logits, y)


def squared_norm(logits, y):
    return sum(row.dot(row) for row in logits) / len(logits)


def norm(logits, y):
    return sum(row.dot(row).sqrt() for row in logits) / len(logits)


# the package's objective, the plain one, power, alpha (None: by the percentile), lambda
METHODS = {
    "SSD": (objective.cross_entropy, cross_entropy, 2, 5.0, 0.5),
    "ASSD": (objective.cross_entropy, cross_entropy, 2, None, 1.0),
    "LFSSD": (objective.squared_norm, squared_norm, 1, 1.5, 1.0),
    "ALFSSD": (objective.squared_norm, squared_norm, 1, None, 1.0),
    "XLF": (objective.norm, norm, 1, None, 1.0),
}
Editor = partial(
    WeightEditor,
    batch_size=BATCH,
    denominator="retain",
    weighting="batches",
    augment=False,
    seed=SEED,
)


@pytest.mark.parametrize("method", METHODS)
def test_every_parameter_of_the_references_net_is_as_from_a_plain_loop(method):
    theirs, loss, power, alpha, strength = METHODS[method]
    net = trained()
    before = {name: w.detach().clone() for name, w in net.named_parameters()}
    edited, otherwise = plain(net, loss, power, alpha, strength)
    cutoff = Percentile() if alpha is None else Fixed(alpha)
    editor = Editor(objective=theirs, power=power, cutoff=cutoff, strength=strength)
    editor.unlearn(Victim(net.train(), trained), split())
    assert sum(w.numel() for w in net.parameters()) == 2_276_224
    changed = 0
    for name, w in net.named_parameters():
        nearer = (w - otherwise[name]).abs() < (w - edited[name]).abs()
        expected = torch.where(nearer, otherwise[name], edited[name])
        torch.testing.assert_close(w.detach(), expected, rtol=1e-4, atol=1e-7)
        changed += int((expected != before[name]).sum())
    assert 0.01 < changed / 2_276_224 < 0.5
