"""JiT, zero-shot unlearning by Lipschitz regularisation (Foster et al. 2024, arXiv 2402.01401)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from antidote.core import Loader, Split, require
from antidote.unlearning.trained import Trained


def units(net: nn.Module) -> tuple[Tensor, Tensor]:
    """(mean, std) of the net's own normalisation, its first module with buffers of these names.

    (0, 1) if it has none: its inputs are normalised as they come.
    """
    for module in net.modules():
        buffers = dict(module.named_buffers(recurse=False))
        if {"mean", "std"} <= buffers.keys():
            return buffers["mean"], buffers["std"]
    return torch.tensor(0.0), torch.tensor(1.0)


def stretch(here: Tensor, there: Tensor, z: Tensor, moved: Tensor) -> Tensor:
    """sum_i ||f(z_i) - f(z'_i)||_2 / ||z_i - z'_i||_2 of a batch; an image not moved adds 0."""
    far = (here - there).flatten(1).norm(dim=1)
    steps = (z - moved).flatten(1).norm(dim=1)
    return (far * torch.where(steps > 0, 1 / steps, 0)).sum()


class JiT(Trained):
    """Makes the net insensitive around the known poison, seeing neither labels nor other data.

    loss = (1 / samples) sum_m sum_i ||f(z_i) - f(z'_mi)||_2 / ||z_i - z'_mi||_2 on a batch of known
    images, with z'_m = clamp(z + sigma * N(0, 1), min z, max z), extremes of the whole batch. z are
    normalised pixels: the nets here normalise inside, so z and z' are worked out with the net's own
    statistics (`units`). The gradient goes through f(z) only. As its authors have it, images come
    in stored order, without augmentation, and the net is in training mode.
    """

    def __init__(self, sigma: float, samples: int, **settings: Any) -> None:
        super().__init__(**settings)
        require(sigma > 0, f"unlearning.sigma={sigma} must be positive")
        require(samples > 0, f"unlearning.samples={samples} must be at least 1")
        self.sigma, self.samples = sigma, samples

    def batches(self, split: Split) -> Loader:
        return split.forget

    def passes(self, split: Split) -> Loader:
        return self.shuffled(self.batches(split)).with_(shuffle=False, augment=None)

    def loss(self, net: nn.Module, batch: Any, *teachers: nn.Module) -> Tensor:
        # in bf16 the rounding of the answers is as large as what a small sigma moves them by
        with torch.autocast(batch[0].device.type, enabled=False):
            return self.sensitivity(net, batch[0])

    def sensitivity(self, net: nn.Module, x: Tensor) -> Tensor:
        """The loss as the class has it, of a batch of images."""
        mean, std = units(net)
        z = (x - mean) / std
        low, high, here = z.min(), z.max(), net(x)
        total = torch.zeros((), device=x.device)
        for _ in range(self.samples):
            moved = (z + self.sigma * torch.randn_like(z)).clamp(low, high)
            with torch.no_grad():
                there = net(moved * std + mean)
            total = total + stretch(here, there, z, moved)
        return total / self.samples
