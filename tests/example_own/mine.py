"""The same net with its normalisation inside, as all nets are here."""

from theirs import Theirs
from torch import Tensor, nn

from antidote.model.normalize import Normalize


class Mine(nn.Module):
    def __init__(self, num_classes: int, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.normalize, self.net = Normalize(mean, std), Theirs(num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.normalize(x))
