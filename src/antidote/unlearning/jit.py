"""JiT, zero-shot unlearning by Lipschitz regularisation (Foster et al. 2024, arXiv 2402.01401)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from antidote.checks import require
from antidote.core import Loader, Split, Victim
from antidote.unlearning.trained import Trained


def lipschitz(f: nn.Module, x: Tensor, xi: Tensor) -> Tensor:
    """mean over m, i of ||f(x_i) - f(x_i + xi_mi)||_2 / ||xi_mi||_2, for noise xi (m, n, ...)."""
    m, n = xi.shape[:2]
    logits = f(torch.cat([x, (x + xi).flatten(0, 1)]))
    moved = (logits[n:].unflatten(0, (m, n)) - logits[:n]).float().norm(dim=-1)
    return (moved / xi.flatten(2).norm(dim=-1)).mean()


class JiT(Trained):
    """Makes the net insensitive around the known poison, seeing neither labels nor other data.

    Each step takes one batch of known poison and `samples` copies of it with Gaussian noise of
    standard deviation `sigma` (pixels in 0..1). Batch-norm statistics stay as they are: those of a
    few poisoned samples are no statistics.
    """

    def __init__(self, sigma: float, samples: int, **settings: Any) -> None:
        super().__init__(**settings)
        require(sigma > 0, f"unlearning.sigma={sigma} must be positive")
        require(samples > 0, f"unlearning.samples={samples} must be at least 1")
        self.sigma, self.noises = sigma, samples

    def prepare(self, victim: Victim) -> nn.Module:
        return victim.net.eval()

    def batches(self, split: Split) -> Loader:
        return split.forget

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, _ = batch
        xi = self.sigma * torch.randn(self.noises, *x.shape, device=x.device)
        self.seen += self.noises * len(x)
        return self.told(lipschitz(self.net, x, xi), len(x))
