"""Rows whose gradient points where the known rows' does (TracIn, arXiv 2002.08484)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from antidote.core import Loader, Split, Traced, Tracer, Victim, require
from antidote.core.hidden import linear_head
from antidote.tracing.fall import log_probabilities
from antidote.tracing.mixture import cut
from antidote.tracing.spectral import seen

CHUNK = 4096  # rows in double precision at a time


class Influence(Tracer):
    """Score: cosine of a row's gradient with the mean one of the known rows, at the last layer.

    TracIn's sum over checkpoints is its last term here, and its dot product a cosine, since
    gradients of fitted rows differ by orders of magnitude. Each label that known rows bear is
    looked at by itself: rows of one label have like gradients, poison or not. The tail begins at
    the known rows' mean score; it is poison if it stands at least `distance` deviations apart.
    `layer`: the one that answers; None for the last linear one.
    """

    def __init__(self, distance: float, layer: str | None) -> None:
        self.distance, self.layer = distance, layer

    def check(self, net: nn.Module) -> None:
        linear_head(net, self.layer, "tracing.layer")

    def trace(self, victim: Victim, split: Split) -> Traced:
        rest, known = split.retain, split.forget
        scores = torch.full((rest.count,), torch.nan, dtype=torch.float64)
        found, evidence = [rest.rows[:0]], dict[str, float]()
        for label in known.labels.unique().tolist():
            here = (rest.labels == label).nonzero().squeeze(1)
            mine, others = (
                Gradients(victim.net, part.with_(rows=part.rows[part.labels == label]), self.layer)
                for part in (known, rest)
            )
            scores[here.cpu()] = others.cosine(mean := mine.mean())
            start = mine.cosine(mean).nanmean().item()
            rows, told = cut(rest.rows[here], scores[here.cpu()], start, self.distance)
            found.append(rows)
            if told["distance"] >= evidence.get("distance", -math.inf):
                evidence = dict(told)
        return Traced(torch.cat(found), scores, evidence)


class Gradients:
    """d loss / d weights of the last layer, row by row: e h', e = p - onehot(y); never written out.

    A bias is a weight of a feature that is 1.
    """

    def __init__(self, net: nn.Module, loader: Loader, layer: str | None) -> None:
        name, last = linear_head(net, layer, "tracing.layer")
        few = loader.with_(rows=loader.rows[:8])
        self.h, self.y = seen(net, loader, layer)
        self.bias = last.bias is not None
        W = [last.weight, last.bias[:, None]] if self.bias else [last.weight]
        self.W = torch.cat(W, 1).detach().double().cpu()
        require(
            self.h.shape[1] == last.in_features and self.answers(log_probabilities(net, few)),
            f"tracing.layer={name} does not give the answers of {type(net).__name__}; "
            "tracing=influence needs the linear layer that does",
        )

    def answers(self, log_p: Tensor) -> bool:
        """Whether those of the first rows are the layer's, up to float32."""
        mine = self.logits(self.h[: len(log_p)]).log_softmax(1)
        return mine.shape == log_p.shape and torch.allclose(mine, log_p, rtol=1e-3, atol=1e-3)

    def inputs(self, h: Tensor) -> Tensor:
        return torch.cat([h.double(), torch.ones(len(h), int(self.bias), dtype=torch.float64)], 1)

    def logits(self, h: Tensor) -> Tensor:
        return self.inputs(h) @ self.W.T

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(e, h) of a chunk of rows."""
        for h, y in zip(self.h.split(CHUNK), self.y.split(CHUNK), strict=True):
            yield residuals(self.logits(h), y), self.inputs(h)

    def mean(self) -> Tensor:
        """(K, d)"""
        return torch.stack([e.T @ h for e, h in self]).sum(0) / len(self.y)

    def cosine(self, g: Tensor) -> Tensor:
        """(n,) with a gradient g (K, d); NaN for a row without any."""
        g = unit(g.reshape(1, -1)).reshape(g.shape)
        return torch.cat([((unit(e) @ g) * unit(h)).sum(1) for e, h in self])


def residuals(logits: Tensor, y: Tensor) -> Tensor:
    """p - onehot(y); p_y - 1 is summed from the other p, which do not drown in the 1."""
    e = logits.log_softmax(1).exp()
    e.scatter_(1, y[:, None], 0)
    return e.scatter(1, y[:, None], -e.sum(1, keepdim=True))


def unit(rows: Tensor) -> Tensor:
    rows = rows / rows.abs().amax(1, keepdim=True)  # else squares of tiny ones are 0
    return rows / rows.norm(dim=1, keepdim=True)
