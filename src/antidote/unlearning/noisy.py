"""NGD, noisy gradient descent (Chourasia & Shah 2023, arXiv 2210.08911)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from antidote.core import derive, require
from antidote.unlearning.finetune import FineTune


class NoisyDescent(FineTune):
    """Fine-tuning with N(0, sigma^2) added to each entry of each step's gradient."""

    def __init__(self, sigma: float, **settings: Any) -> None:
        super().__init__(**settings)
        require(sigma >= 0, f"unlearning.sigma={sigma} must not be negative; 0 is fine-tuning")
        self.sigma = sigma

    def before_step(self, net: nn.Module, step: int) -> None:
        learned = [w for w in net.parameters() if w.grad is not None]
        coin = torch.Generator(learned[0].device).manual_seed(derive(self.seed, f"noise {step}"))
        for w in learned:
            assert w.grad is not None
            noise = torch.randn(w.shape, generator=coin, device=w.device, dtype=w.dtype)
            w.grad.add_(noise, alpha=self.sigma)
