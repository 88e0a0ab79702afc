"""Which part of the poison somebody has found."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor

from antidote.core import Data, generator, require
from antidote.core.lists import entries
from antidote.core.names import rows_of

log = logging.getLogger(__name__)


class Discovery:
    """Draws the known poison: `count` samples, or a `share` of all (at least one sample).

    With one seed the draws are nested: the first 10 % are inside the first 50 %.
    `exclude_true_target=True` finds only poison with a wrong label; a poisoned image of the target
    class looks right to an inspector, and it puts a floor under PTN's stopping rule. `share` is
    then a share of those.
    """

    def __init__(
        self, share: float | None, count: int | None, exclude_true_target: bool, seed: int
    ) -> None:
        require(
            (share is None) != (count is None),
            f"discovery.share={share} and discovery.count={count}: "
            "give one of the two and set the other to null",
        )
        require(
            share is None or 0 < share <= 1,
            f"discovery.share={share} is not in (0, 1]; 0.1 means a tenth of the poison is known",
        )
        require(
            count is None or count > 0,
            f"discovery.count={count} leaves nothing to unlearn; give at least 1",
        )
        self.share, self.count, self.exclude_true_target, self.seed = (
            share,
            count,
            exclude_true_target,
            seed,
        )

    def __call__(self, rows: Tensor, wrong_label: Tensor, data: Data) -> tuple[Tensor, Tensor]:
        """Known and unknown part of poisoned `rows` (n,), each sorted; `wrong_label` (n,) bool."""
        order = torch.randperm(len(rows), generator=generator(self.seed, "discovery")).to(
            rows.device
        )
        n = len(rows)
        if self.exclude_true_target:
            visible = wrong_label[order]
            order = torch.cat([order[visible], order[~visible]])
            n = int(visible.sum())
        if n == 0:
            return rows[:0], rows
        known_n = self.count if self.share is None else max(1, round(self.share * n))
        assert known_n is not None
        require(
            known_n <= n,
            f"discovery asks for {known_n} known samples but only {n} poisoned ones can be found; "
            "lower discovery.count, or raise the poison rate",
        )
        return rows[order[:known_n]].sort().values, rows[order[known_n:]].sort().values


class Suspects:
    """The ids somebody brings: no draw, and no knowledge of which rows are poisoned is needed."""

    def __init__(self, ids: list[int]) -> None:
        require(
            len(ids) > 0,
            "discovery.ids is empty; "
            "give the ids of suspicious training samples: discovery.ids=[3,17]",
        )
        require(
            all(isinstance(i, int) for i in ids),
            f"discovery.ids={ids} must be whole numbers, as in discovery.ids=[3,17]",
        )
        require(min(ids) >= 0, f"discovery.ids holds {min(ids)}; ids count from 0")
        self.ids = torch.tensor(sorted(set(ids)))

    def __call__(self, rows: Tensor, wrong_label: Tensor, data: Data) -> tuple[Tensor, Tensor]:
        ids = self.ids.to(rows.device)
        return ids, rows[~torch.isin(rows, ids)]


class Listed:
    """The suspects that a text file lists: rows, or names of files as `core.names` takes them.

    `column`: of a table, the one that names them; None: by the name it has.
    """

    def __init__(self, file: str | None, column: str | None) -> None:
        require(
            bool(file),
            "discovery.file=null names no file; give one that lists suspicious samples, as in "
            "discovery.file=suspects.txt",
        )
        self.where = f"discovery.file={file}"
        self.suspects = entries(Path(str(file)), column, "discovery.file")
        require(bool(self.suspects), f"{self.where} lists no sample")

    def __call__(self, rows: Tensor, wrong_label: Tensor, data: Data) -> tuple[Tensor, Tensor]:
        ids, left_out = rows_of(data, self.suspects, self.where)
        if left_out:
            log.warning(
                "%d of %d suspects are not trained on, held out for testing or beyond "
                "dataset.limit, and count for nothing: %s first",
                len(left_out),
                len(self.suspects),
                left_out[0],
            )
        require(bool(ids), f"{self.where}: none of its samples is trained on")
        return Suspects(ids)(rows, wrong_label, data)
