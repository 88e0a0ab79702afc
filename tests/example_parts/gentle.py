"""Fine-tunes on all but the known poison, with labels that are believed by halves only."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from antidote.unlearning.finetune import FineTune


class Gentle(FineTune):
    """`smoothing` is the share of each label that is spread over all classes, in 0..1."""

    def __init__(self, smoothing: float, **settings: Any) -> None:
        super().__init__(**settings)
        self.smoothing = smoothing

    def loss(self, net: nn.Module, batch: Any, *teachers: nn.Module) -> Tensor:
        x, y = batch
        return F.cross_entropy(net(x), y, label_smoothing=self.smoothing)
