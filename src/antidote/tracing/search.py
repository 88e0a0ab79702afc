"""From known rows to those like them: directions in which they stand apart from all others.

A direction is looked for in several layers, since a patch, a pattern and a wave show in different
ones. It starts from the rows nearest to the known ones and is sharpened by a linear discriminant,
whose scores are cross-fitted: no row is judged by a direction that it helped to find.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.special import rel_entr
from scipy.stats import hypergeom
from torch import Tensor

from antidote.core import generator
from antidote.tracing.mixture import Tail, tail

MOST, FEW = 2 / 3, 5  # of all rows a group may have; rows it must have
FOLDS, ROUNDS, SWEEPS = 5, 6, 6
NEAREST = (10, 30, 100)
QUANTILES = (0.8, 0.9, 0.95, 0.98, 0.995)  # where a tail may begin
FARTHEST = (0.015, 0.05)  # of the rows, to begin with where none is known
SHRINK = 0.1  # of the mean variance, added to every one


@dataclass(frozen=True)
class Group:
    """Rows that stand apart, in which layer, and the scores (n,) that say so."""

    tail: Tail
    layer: str
    scores: Tensor


class Search:
    """`known` (n,) bool: rows to start from, and to find again.

    `distance`: how far a tail must be from the bulk, see `Tail`. `nearest`: how many of the nearest
    rows to begin with, one after the other, where the tail among them leads nowhere.
    """

    def __init__(
        self,
        layers: Mapping[str, Layer],
        known: Tensor,
        distance: float,
        nearest: Sequence[int] = NEAREST,
    ) -> None:
        self.layers, self.known, self.distance = layers, known, distance
        self.nearest = nearest
        self.best: Group | None = None

    def run(self, start: Tensor | None = None) -> Group | None:
        """The best group that half of the known rows are in, or None.

        `start` (n,) bool: rows to begin with instead of the known ones' nearest.
        """
        if start is None:
            self.from_nearest()
        else:
            self.across(start)
        for _ in range(SWEEPS):
            best = self.best
            if best is None or not self.across(best.tail.rows | self.known):
                break
        return self.completed()

    def from_nearest(self) -> None:
        near = {name: layer.nearness(self.known) for name, layer in self.layers.items()}
        for layer, scores in near.items():
            group = self.judged(layer, scores, self.known)
            self.sharpen(layer, group.tail.rows | self.known)
        if self.best is not None and self.best.tail.apart(self.distance):
            return
        for layer, scores in near.items():
            for n in self.nearest:
                rows = self.known.clone()
                _, nearest = scores.topk(min(n + int(self.known.sum()), len(scores) // 4))
                rows[nearest] = True
                self.sharpen(layer, rows)

    def sharpen(self, layer: str, rows: Tensor) -> None:
        """Discriminant and tail in turn, until the rows stand still."""
        for _ in range(ROUNDS):
            if not self.known.sum() < rows.sum() <= MOST * len(rows):
                return
            found = self.discriminated(layer, rows).tail.rows | self.known
            if torch.equal(found, rows):
                return
            rows = found

    def across(self, rows: Tensor) -> bool:
        """Whether in one of the layers these rows lead to a better group."""
        if not 1 < rows.sum() <= MOST * len(rows):
            return False
        before = self.best
        for layer in self.layers:
            self.discriminated(layer, rows)
        return self.best is not before

    def completed(self) -> Group | None:
        """With the rows that stand apart beside the group's in any other layer."""
        best = self.best
        if best is None or not best.tail.apart(self.distance):
            return best
        rows, union = best.tail.rows | self.known, best.tail.rows.clone()
        for layer in self.layers:
            found = self.discriminated(layer, rows).tail
            if found.apart(self.distance) and found.rows.sum() <= 2 * best.tail.rows.sum():
                union |= found.rows
        t = best.tail
        return Group(Tail(union, t.gain, t.distance, t.sure), best.layer, best.scores)

    def discriminated(self, layer: str, rows: Tensor) -> Group:
        return self.judged(layer, self.layers[layer].crossed(rows), rows)

    def judged(self, layer: str, scores: Tensor, rows: Tensor) -> Group:
        q = torch.tensor(QUANTILES, dtype=scores.dtype)
        group = Group(tail(scores, [scores[rows].mean(), *scores.quantile(q)]), layer, scores)
        inside = group.tail.rows
        fits = FEW <= int(inside.sum()) <= MOST * len(inside)
        if self.known.any():
            fits = fits and inside[self.known].double().mean().item() >= 0.5
        if fits and (self.best is None or self.better(group, self.best)):
            self.best = group
        return group

    def better(self, one: Group, other: Group) -> bool:
        (apart, worth), (before, least) = map(self.worth, (one, other))
        return apart > before or (apart == before and worth > 1.001 * least)

    def worth(self, group: Group) -> tuple[bool, float]:
        """What stands apart goes first, then what explains most.

        Else what comes nearest to it, times what it tells of the known rows where they are several:
        n KL(a || q), a and q being the shares of the n known rows and of the others in the group.
        """
        tail = group.tail
        if tail.apart(self.distance):
            return True, tail.gain
        n = int(self.known.sum())
        if n < 2:
            return False, tail.distance * tail.sure
        a, q = (tail.rows[each].double().mean().item() for each in (self.known, ~self.known))
        told = n * (rel_entr(a, q) + rel_entr(1 - a, 1 - q)) if a > q else 0.0
        return False, tail.distance * tail.sure * told


def chance(layers: Mapping[str, Layer], known: Tensor, distance: float, seed: int) -> float:
    """How likely it is by chance that half of the known rows lead to so many of the other half.

    Each half is sent out once, and the other held back. Were the rows held back like any other row,
    those of them in the group would be a hypergeometric draw: counted is the probability of as many
    or more. Of the two the lower is taken, twice, since either may be it (Bonferroni).
    """
    mine = known.nonzero().squeeze(1)
    order = torch.randperm(len(mine), generator=generator(seed, "held back"))
    first = torch.zeros_like(known)
    first[mine[order[: len(mine) // 2]]] = True
    return min(
        1.0,
        2 * min(drawn(layers, half, known & ~half, distance) for half in (first, known & ~first)),
    )


def drawn(layers: Mapping[str, Layer], sent: Tensor, held: Tensor, distance: float) -> float:
    """The probability that so many of `held` are in the group of `sent`, or more."""
    group = Search(layers, sent, distance).run()
    if group is None:
        return 1.0
    inside = group.tail.rows & ~sent
    found, others, size, n = (int(t.sum()) for t in (inside & held, ~sent, inside, held))
    return float(hypergeom.sf(found - 1, others, size, n))


def unasked(layers: Mapping[str, Layer], distance: float, first: float) -> Group | None:
    """The group that rows far out along a layer's main direction lead to; no row is known.

    The search goes on where they lead to one that is `first` of the distance away.
    """
    nobody = torch.zeros(len(next(iter(layers.values())).H), dtype=torch.bool)
    search = Search(layers, nobody, distance)
    for name, layer in layers.items():
        out = layer.outlying()
        for share in FARTHEST:
            search.discriminated(name, out >= out.quantile(1 - share))
    best = search.best
    if best is None or best.tail.distance < first * distance:
        return None
    return search.run(best.tail.rows)


class Layer:
    """Features (n, d) of one layer, standardised, ready to be told apart in any way.

    The rows are in parts; each is scored by directions found on the others. What a direction needs
    of the data besides two means is factored once: with all rows' covariance S_t in the place of
    that within groups the discriminant is the same but for its length.
    """

    def __init__(self, H: Tensor, part: Tensor) -> None:
        H = H.double()
        spread = H.std(0, correction=0)
        self.H = (H - H.mean(0)) / spread.clamp(min=1e-6 * spread.max() + 1e-12)
        self.rests = [part != k for k in range(FOLDS)]
        self.factors = [factored(self.H[rest]) for rest in self.rests]

    def nearness(self, known: Tensor) -> Tensor:
        """(n,) cosine with the mean direction of the known rows."""
        rows = F.normalize(self.H, dim=1)
        return rows @ F.normalize(rows[known].mean(0), dim=0)

    def crossed(self, rows: Tensor) -> Tensor:
        """(n,) scores of `rows` against the others, in deviations of the others."""
        scores, own = self.H.new_zeros(len(self.H)), []
        for rest, L in zip(self.rests, self.factors, strict=True):
            P, R = self.H[rest & rows], self.H[rest & ~rows]
            if not len(P):
                continue
            s = self.H @ torch.cholesky_solve((P.mean(0) - R.mean(0))[:, None], L).squeeze(1)
            bulk = s[rest & ~rows]
            own.append((s - bulk.mean()) / bulk.std().clamp(min=1e-12))
            scores = torch.where(rest, scores, own[-1])
        everywhere = torch.stack(self.rests).all(0)
        return torch.where(everywhere, torch.stack(own).mean(0), scores) if own else scores

    def outlying(self) -> Tensor:
        """(n,) squared projections on the first principal direction (spectral signatures)."""
        X = self.H - self.H.mean(0)
        _, vectors = torch.linalg.eigh(X.T @ X)
        return (X @ vectors[:, -1]) ** 2

    def along(self, rows: Tensor) -> Tensor:
        """(d,) the direction of `rows` against the others."""
        d = self.H[rows].mean(0) - self.H[~rows].mean(0)
        return torch.cholesky_solve(d[:, None], factored(self.H)).squeeze(1)


def factored(H: Tensor) -> Tensor:
    """Cholesky factor of S_t + a I, a being `SHRINK` of the mean variance."""
    X = H - H.mean(0)
    S = X.T @ X / max(len(X), 1)  # a label may have one row
    S.diagonal().add_(SHRINK * S.diagonal().mean() + 1e-12)
    return torch.linalg.cholesky(S)


def parts(known: Tensor, seed: int) -> Tensor:
    """(n,) the part each row is scored in.

    A single known row is in no part, so all directions are found with it: it is all there is.
    """
    part = torch.randperm(len(known), generator=generator(seed, "parts")) % FOLDS
    return part if known.sum() != 1 else torch.where(known, FOLDS, part)
