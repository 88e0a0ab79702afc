"""Which rows of a data set are kept, and which are held out for testing."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from antidote.core import generator, require

log = logging.getLogger(__name__)


def kept(y: Tensor, limit: int | None) -> Tensor | slice:
    """The first `limit` rows; of rows that lie class by class the first of each class in turn.

    A slice, which copies nothing of mapped images, unless they lie class by class.
    """
    require(
        limit is None or limit > 0,
        f"dataset.limit={limit} keeps no training sample; give a positive number or null for all",
    )
    if limit is None or limit >= len(y) or not class_by_class(y):
        return slice(limit)
    place = torch.zeros_like(y)  # of a row among those of its class
    for k in y.unique():
        place[y == k] = torch.arange(int((y == k).sum()))
    return place.sort(stable=True).indices[:limit].sort().values


def class_by_class(y: Tensor) -> bool:
    """Whether each class is one block of rows, or labels change less than half as often as by lot.

    In random order one row has another label than the next with probability 1 - sum(share^2).
    """
    share = y.bincount().double() / len(y)
    changes = int((y[1:] != y[:-1]).sum())
    by_lot = (len(y) - 1) * (1 - share.square().sum().item())
    return 0 < changes < int((share > 0).sum()) or changes < 0.5 * by_lot


def held_out(y: Tensor, share: float, seed: int) -> Tensor:
    """Sorted rows of a test part: `share` of each class, of two rows or more at least one.

    None of them where a class has a single row, which is trained on.
    """
    require(
        0 < share < 1,
        f"dataset.test_share={share} is not in (0, 1); 0.2 holds out a fifth of each class",
    )
    found = []
    for k in y.unique().tolist():
        rows = (y == k).nonzero().squeeze(1)
        n = min(max(1, round(share * len(rows))), len(rows) - 1)
        order = torch.randperm(len(rows), generator=generator(seed, f"test part, class {k}"))
        found.append(rows[order[:n]])
    chosen = torch.cat(found).sort().values
    require(
        len(chosen) > 0,
        f"the data set has no test part, and of {len(y)} samples, one of each class, none can be "
        "held out for one; add samples",
    )
    return chosen


def parted(y: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """(rows that are trained on, rows that are held out), where data have no test part; said."""
    rows = held_out(y, share, seed)
    left = torch.ones(len(y), dtype=torch.bool)
    left[rows] = False
    log.info(
        "there is no test part: %d of %d images are held out for testing, dataset.test_share=%g of "
        "each class, drawn by dataset.seed=%d",
        len(rows),
        len(y),
        share,
        seed,
    )
    return left.nonzero().squeeze(1), rows
