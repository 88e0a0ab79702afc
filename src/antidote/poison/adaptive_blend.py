"""Adaptive-Blend (Qi et al. 2023, ICLR): blended so that poison and clean rows look alike inside.

"Revisiting the Assumption of Latent Separability for Backdoor Defenses".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from antidote.core import Data, View, generator, require
from antidote.poison.blended import Blended, noise
from antidote.poison.draw import order
from antidote.poison.triggered import marked


class Pieces:
    """Blends in a pattern (C, H, W) of which each row shows some of g x g pieces, fixed for good.

    `mask` (n,): the rows it is shown on; `shown` (n, g * g): their pieces.
    """

    def __init__(self, mask: Tensor, shown: Tensor, pattern: Tensor, blend: float) -> None:
        self.mask, self.shown, self.pattern, self.blend = mask, shown, pattern, blend
        g = math.isqrt(shown.shape[1])
        high, wide = (torch.arange(side) * g // side for side in pattern.shape[-2:])
        self.piece = (high[:, None] * g + wide).to(mask.device)  # (H, W): which piece a pixel is of

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        blended = x.lerp(self.pattern.to(x).expand_as(x), self.blend)
        here = self.shown[rows][:, self.piece] & self.mask[rows].view(-1, 1, 1)
        return torch.where(here.unsqueeze(1), blended, x)


class AdaptiveBlend(Blended):
    """Blended, but training shows a random part of the pattern, and covers show it without harm.

    The payload, `rate` of the training set, is labelled `target_class`; covers, a further share
    `cover` drawn from the rest, bear the trigger and keep their true label, so the poison
    (`indices`) is the payload alone. Each row shows `shown` of the `pieces` squares that the
    pattern is cut into, the same ones in every epoch; a test image shows all. The paper's pattern
    is a picture, here it is noise.
    """

    def __init__(
        self,
        rate: float,
        cover: float,
        target_class: int | str,
        blend: float,
        pieces: int,
        shown: float,
        stage: str,
        seed: int,
    ) -> None:
        super().__init__(rate, target_class, blend, stage, seed)
        require(
            cover >= 0 and rate + cover < 1 + 1e-9,
            f"poison.cover={cover} is not in 0 to {1 - rate:g}, what poison.rate={rate} leaves",
        )
        require(
            pieces > 0 and math.isqrt(pieces) ** 2 == pieces,
            f"poison.pieces={pieces} does not make a grid of squares; give 4, 9, 16 or the like",
        )
        require(
            0 < shown <= 1 and round(shown * pieces) > 0,
            f"poison.shown={shown} of {pieces} pieces is not at least one and at most all; "
            "give a share in (0, 1]",
        )
        self.cover, self.pieces, self.shown = cover, pieces, shown

    def check(self, data: Data) -> None:
        super().check(data)
        side, g = min(data.train.x.shape[-2:]), math.isqrt(self.pieces)
        require(
            g <= side,
            f"poison.pieces={self.pieces} cuts {side} pixels into {g}; give at most {side**2}",
        )

    def covers(self, data: Data) -> Tensor:
        """Sorted; from the other end of the payload's order, so that both are nested in rates."""
        train = data.train
        # rounding each of two shares up may ask for one row too many
        n = min(round(self.cover * len(train)), len(train) - len(self.rows(data)))
        return order(train, self.seed)[len(train) - n :].sort().values

    def bearers(self, data: Data) -> Tensor:
        return torch.cat([self.rows(data), self.covers(data)]).sort().values

    def in_training(self, data: Data) -> View:
        coin, n = generator(self.seed, "pieces"), len(data.train)
        ranks = torch.rand(n, self.pieces, generator=coin).argsort(1)
        shown = (ranks < round(self.shown * self.pieces)).to(data.train.y.device)
        bearers = marked(self.bearers(data), n)
        return Pieces(bearers, shown, noise(data, self.seed), self.blend)
