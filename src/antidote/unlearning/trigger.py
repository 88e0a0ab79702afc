"""What a trigger looks like, worked out from the rows that bear it.

A fixed trigger, whatever it is, changes each pixel in the same way in all rows that bear it. The
first two moments of a pixel over those rows (m_t, s_t) and over rows without it (m_r, s_r) give
back that way: x -> m_t + s (x - m_r), s = s_t / s_r. An opaque patch has s = 0, a pattern of
opacity a has s = 1 - a, a wave that is added has s = 1. No net is asked, and nothing is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from antidote.core import Loader, Split

LEAST = 0.3  # of a pixel that must shine through, to be worked out again
CHANCE = 2.0  # mean squares that a change must have, in those of chance
CLEAR = 6.0  # or deviations of chance, in one pixel
ALONE = 0.5  # of the change at most, for rows to be all of one class that they are not labelled as
ALIKE = 0.25  # of the change of all rows, by which those of single labels may differ from it


@dataclass(frozen=True)
class Moments:
    """Of `n` rows: their mean and mean square, pixel by pixel, float64.

    `n` says how sure the mean is: of a mixture, as many rows as would tell it as well.
    """

    n: float
    mean: Tensor
    square: Tensor

    @property
    def variance(self) -> Tensor:
        return (self.square - self.mean**2).clamp(min=0)

    @staticmethod
    def of(loader: Loader) -> Moments:
        """Of rows as stored."""
        total, square = torch.zeros(()), torch.zeros(())
        for x, _ in loader.with_(augment=None):
            x = x.double()
            total, square = total + x.sum(0), square + (x**2).sum(0)
        return Moments(float(loader.count), total / loader.count, square / loader.count)

    @staticmethod
    def mixed(parts: Sequence[Moments], weights: Tensor) -> Moments:
        w = (weights / weights.sum()).tolist()
        pairs = list(zip(w, parts, strict=True))
        mean, square = sum(w * p.mean for w, p in pairs), sum(w * p.square for w, p in pairs)
        n = 1 / sum(v**2 / p.n for v, p in zip(w, parts, strict=True))
        return Moments(n, mean, square)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Trigger:
    """What the rows of some labels bear: `marked` with it, `plain` what they would be without.

    `true`: whether those rows bear their true labels, so far as their pixels tell.
    """

    marked: Moments
    plain: Moments
    true: bool

    @property
    def change(self) -> Tensor:
        return self.marked.mean - self.plain.mean

    @property
    def chance(self) -> Tensor:
        """Variance of `change` if there were no trigger: all rows would vary alike."""
        n, m = self.marked.n, self.plain.n
        pooled = n * self.marked.variance + m * self.plain.variance
        return pooled / max(n + m - 2, 1) * (1 / n + 1 / m)

    @property
    def clear(self) -> Tensor:
        """Whether a pixel changes beyond chance by itself, in deviations `CLEAR`.

        Of chance, and of the change as the marked rows themselves vary: a pixel that is hardly ever
        on is on in one of a few rows without a trigger, too.
        """
        n, m = self.marked.n, self.plain.n
        own = self.marked.variance / max(n - 1, 1) + self.plain.variance / m
        return self.change**2 > CLEAR**2 * torch.maximum(self.chance, own)

    @property
    def size(self) -> float:
        """Mean change of a pixel beyond chance."""
        return self.beyond(self.change, 2)

    def beyond(self, change: Tensor, deviations: float) -> float:
        """The mean of what is more of a change than so many deviations of chance."""
        return (change.abs() - deviations * self.chance.sqrt()).clamp(min=0).mean().item()

    @property
    def there(self) -> bool:
        """Whether the change is more than such rows differ by anyway, in one pixel or over all.

        A single row says nothing.
        """
        beyond = (self.change**2).mean() > CHANCE * self.chance.mean()
        return self.marked.n > 1 and bool(beyond or self.clear.any())

    @property
    def bears_truth(self) -> bool:
        """Whether a trigger is to be seen on rows under their true labels."""
        return self.there and self.true

    @property
    def s(self) -> Tensor:
        """(C, H, W) in 0..1, how much of a pixel shines through."""
        plain = self.plain.variance.sqrt()
        ratio = self.marked.variance.sqrt() / plain.clamp(min=1e-3)
        return torch.where(plain > 1e-3, ratio, 1.0).clamp(0, 1)

    def stamp(self, x: Tensor) -> Tensor:
        """Rows (n, C, H, W) in 0..1 as they would bear it."""
        m_t, m_r, s = (t.to(x) for t in (self.marked.mean, self.plain.mean, self.s))
        return (m_t + s * (x - m_r)).clamp(0, 1)

    def removed(self, x: Tensor) -> Tensor:
        """Rows without it; a pixel that it hides is what it is in the mean."""
        m_t, m_r, s = (t.to(x) for t in (self.marked.mean, self.plain.mean, self.s))
        below = torch.where(s > LEAST, (x - m_t) / s.clamp(min=LEAST), 0)
        return (m_r + below).clamp(0, 1)


class Triggers:
    """The triggers of the forget set, by the label they come with; one for all if they are alike.

    `of` {label: trigger}. Accounts of the rows are held against each other: they are of all classes
    as the retained rows are; of the classes that their labels say (a clean-label attack); or all of
    one other class (a swap of labels). The one that has to change least is taken: rows of other
    classes differ by far more than by a trigger.
    """

    def __init__(self, split: Split) -> None:
        classes = {c: Moments.of(part) for c, part in by_label(split.retain).items()}
        own = {c: Moments.of(part) for c, part in by_label(split.forget).items()}
        counts = torch.tensor([m.n for m in own.values()], dtype=torch.float64)
        said = torch.tensor([own[c].n if c in own else 0.0 for c in classes])
        whole = self.likeliest(Moments.mixed(list(own.values()), counts), classes, said)
        each = {
            c: self.likeliest(m, classes, torch.tensor([float(k == c) for k in classes]))
            for c, m in own.items()
        }
        unlike = max(t.beyond(t.change - whole.change, 3) for t in each.values())
        self.of = dict.fromkeys(each, whole) if unlike <= ALIKE * whole.size else each

    def likeliest(self, marked: Moments, classes: dict[int, Moments], said: Tensor) -> Trigger:
        parts = list(classes.values())
        usual = torch.tensor([part.n for part in parts], dtype=torch.float64)
        accounts = [Trigger(marked, Moments.mixed(parts, usual), False)]
        if said.sum() > 0:  # a label may have no retained rows at all
            accounts.append(Trigger(marked, Moments.mixed(parts, said), True))
        single = (Trigger(marked, part, False) for part in parts)
        best, other = min(accounts, key=moved), min(single, key=moved)
        return other if moved(other) < ALONE * moved(best) else best

    def there(self) -> list[Trigger]:
        """Those that can be seen, each once."""
        return [t for t in {id(t): t for t in self.of.values()}.values() if t.there]


def moved(trigger: Trigger) -> float:
    return trigger.change.abs().mean().item()


def by_label(loader: Loader) -> dict[int, Loader]:
    y = loader.labels
    return {c: loader.with_(rows=loader.rows[y == c]) for c in y.unique().tolist()}
