"""What a search must not cost, by retained samples that are held out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from antidote.core import Loader, Split, answers, generator, require

LEAST = 20  # held-out samples of a class, below which its accuracy says little


@dataclass(frozen=True)
class Limits:
    """`max_drop` of accuracy in 0..1, `max_class_drop` of that of any class; None: no limit.

    Judged by `held_out`, a share of the retained samples, under their stored labels, of which
    hardly any is poison. A class counts with `LEAST` of them or more.
    """

    max_drop: float | None
    max_class_drop: float | None
    held_out: float

    def __post_init__(self) -> None:
        for name in ("max_drop", "max_class_drop"):
            value = getattr(self, name)
            require(
                value is None or 0 <= value < 1,
                f"unlearning.{name}={value} is not a loss of accuracy in [0, 1); 0.02 is two "
                "points, null no limit",
            )
        require(
            0 < self.held_out < 1,
            f"unlearning.held_out={self.held_out} is not a share in (0, 1); 0.1 is a tenth",
        )

    @property
    def on(self) -> bool:
        return self.max_drop is not None or self.max_class_drop is not None

    def apart(self, split: Split, seed: int) -> tuple[Split, Loader]:
        """The split without the held-out samples, and these, plain."""
        rows = split.retain.rows
        n = min(max(1, round(self.held_out * len(rows))), len(rows) - 1)
        coin = generator(seed, "held out of the search")
        order = torch.randperm(len(rows), generator=coin).to(rows.device)
        held = split.retain.with_(rows=rows[order[:n]].sort().values, augment=None)
        rest = split.retain.with_(rows=rows[order[n:]].sort().values)
        return replace(split, retain=rest), held

    def look(self, net: nn.Module, held: Loader) -> tuple[Tensor, Tensor, Tensor]:
        """(labels that have samples enough, the accuracy on each, that on all)."""
        predicted, y = answers(net, held)
        right = (predicted == y).double()
        classes = torch.tensor([k for k in y.unique().tolist() if int((y == k).sum()) >= LEAST])
        each = torch.stack([right[y == k].mean() for k in classes.tolist()] or [right.mean()])
        return classes, each, right.mean()

    def cost(self, net: nn.Module, held: Loader, before: tuple[Tensor, ...]) -> dict[str, float]:
        """What the held-out samples say is lost, against `before`, a look at the victim."""
        _, each, whole = self.look(net, held)
        drops = before[1] - each
        return {
            "held_out_drop": (before[2] - whole).item(),
            "held_out_class_drop": drops.max().item(),
        }

    def exceeded(self, row: Mapping[str, float]) -> str | None:
        """The limit that a try broke, with what it cost; None if none."""
        for name in ("max_drop", "max_class_drop"):
            limit, cost = getattr(self, name), row.get("held_out" + name.removeprefix("max"))
            if limit is not None and cost is not None and cost > limit + 1e-9:
                return name
        return None
