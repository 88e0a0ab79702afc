"""The Gaussian Unlearning Score (GUS; Pawelczyk et al. 2024, arXiv 2406.17216)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from antidote.core import Loader, evaluating
from antidote.core.precision import float32

FPR = 0.01
CHUNK = 1024  # rows in double precision at a time
THRESHOLD = 2.3263478740408408  # Phi^-1(1 - FPR)


def input_gradients(net: nn.Module, loader: Loader) -> Tensor:
    """g_z = grad_x CE(f(x), y) of every row (n, ...), in the loader's order, each up to a factor.

    Evaluation mode and float32, one backward per batch, in which rows do not see each other. The
    factor takes out ||softmax(f) - onehot(y)||, with which the gradient of a confident answer would
    underflow; 0 where even so nothing is left.
    """
    with torch.enable_grad(), evaluating(net), float32(loader.rows.device):
        return torch.cat([batch_gradients(net, x, y) for x, y in loader])


def batch_gradients(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    f = net(x)
    (g,) = torch.autograd.grad(f, x, residuals(f.detach(), y).to(f))
    return g


def residuals(f: Tensor, y: Tensor) -> Tensor:
    """softmax(f) - onehot(y), the gradient of CE by the logits f (n, K), its rows of length 1.

    Its label's entry is minus the sum of the others, so the softmax of those alone says it all up
    to a factor: 1 - p of a p near 1 would lose all digits.
    """
    label = F.one_hot(y, f.shape[1]).bool()
    others = f.double().masked_fill(label, -torch.inf).softmax(1)
    return F.normalize(others.masked_fill(label, -1.0), dim=1)


def alignments(g: Tensor, u: Tensor) -> Tensor:
    """I_z = <g_z, xi_z> / (eps ||g_z||) of u = xi / eps, both (n, ...); rows without g dropped.

    N(0, 1) where g does not depend on u, whatever the net; nothing is added to the denominator.
    """
    pairs = zip(g.flatten(1).split(CHUNK), u.flatten(1).split(CHUNK), strict=True)
    sums = [((a.double() * b.double()).sum(1), a.double().norm(dim=1)) for a, b in pairs]
    product, length = (torch.cat(part) for part in zip(*sums, strict=True))
    seen = (length > 0) & length.isfinite()
    return product[seen] / length[seen]


class GaussianScore:
    """How far a net's input gradients, at the clean images, lean against the noise it was fed.

    `noise` and `fresh` (n, ...), in the loader's order: the standard normal draws u = xi / eps that
    training saw, and others as a control. `unit` (C,): how many pixel units (0..1) are one unit of
    the noise. Larger is more poison left: T = -I, since training on x + xi makes the loss fall
    along xi. `score`: mean T; `z` = sqrt(n) score, N(0, 1) without poison;
    `p`: two-sided; `tpr`: share of rows with T above the threshold that 1 % of fresh noise
    passes; `auroc` against the control; `mean`: raw, of I; `dropped`: rows without a gradient.
    `control*`: the same of fresh noise on the same rows.
    """

    def __init__(self, noise: Tensor, fresh: Tensor, unit: Tensor) -> None:
        self.noise, self.fresh, self.unit = noise, fresh, unit

    def __call__(self, net: nn.Module, loader: Loader) -> dict[str, float]:
        # by x in the noise's units: a unit is so many pixel units
        g = input_gradients(net, loader) * self.unit.view(-1, 1, 1)
        T, control = (-alignments(g, u.to(g.device)) for u in (self.noise, self.fresh))
        return {
            **summary(T),
            "mean": -T.mean().item(),
            "auroc": auroc(T, control),
            "dropped": float(len(g) - len(T)),
            "n": float(len(T)),
            **{f"control_{name}": value for name, value in summary(control).items()},
        }


def summary(T: Tensor) -> dict[str, float]:
    score = T.mean().item()
    z = math.sqrt(len(T)) * score
    return {
        "score": score,
        "z": z,
        "p": math.erfc(abs(z) / math.sqrt(2)),
        "tpr": (T > THRESHOLD).double().mean().item(),
    }


def auroc(positive: Tensor, negative: Tensor) -> float:
    """The chance that a value of the first is above one of the second; ties count half."""
    both = torch.sort(negative).values
    below = torch.searchsorted(both, positive) + torch.searchsorted(both, positive, right=True)
    return (below.double() / (2 * len(both))).mean().item()
