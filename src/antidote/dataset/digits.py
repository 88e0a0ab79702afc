"""Handwritten digits: 1,797 grey images of 8x8 pixels that ship inside scikit-learn.

They are from the UCI ML repository, licence CC BY 4.0.
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits

from antidote.core import Augment, Data, Samples, generator, require
from antidote.dataset.images import image_data


def digits(augment: Augment, upscale: int, test_share: float, seed: int, limit: int | None) -> Data:
    """Each pixel becomes `upscale` x `upscale` pixels; the split is drawn.

    The upscaling lets nets with strides take the images.
    """
    require(
        0 < test_share < 1,
        f"dataset.test_share={test_share} is not in (0, 1); 0.2 holds out a fifth",
    )
    raw = load_digits()
    x = torch.from_numpy(raw.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(1)
    x = x.repeat_interleave(upscale, 2).repeat_interleave(upscale, 3)
    everything = Samples(x, torch.from_numpy(raw.target).long())
    order = torch.randperm(len(everything), generator=generator(seed, "digits split"))
    cut = round(test_share * len(everything))
    train, test = everything.take(order[cut:]), everything.take(order[:cut])
    return image_data(train, test, tuple(str(d) for d in range(10)), augment, limit)
