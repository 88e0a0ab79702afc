"""Two classes of 12x12 images: a bright horizontal or vertical bar on grey noise."""

import torch

from antidote.core import Augment, Data, Samples
from antidote.dataset.images import image_data


def bars(n: int, augment: Augment, seed: int) -> Data:
    coin = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 160, (2 * n, 1, 12, 12), generator=coin, dtype=torch.uint8)
    y = torch.arange(2 * n) % 2
    x[y == 0, :, 5:7, :] = 255
    x[y == 1, :, :, 5:7] = 255
    whole = Samples(x, y)
    rows = torch.arange(2 * n)
    train, test = whole.take(rows[:n]), whole.take(rows[n:])
    return image_data(train, test, ("horizontal", "vertical"), augment, limit=None)
