"""Does what a group of rows has in common bring other rows to the group's label?

A trigger does, and that is what it is for; a sub-group that any class has does not.
"""

from __future__ import annotations

import torch
from torch import nn

from antidote.core import Loader, generator
from antidote.core.trigger import Moments, Trigger

MOST = 2000  # rows that are stamped


@torch.no_grad()
def acting(net: nn.Module, marked: Loader, rest: Loader, label: int, seed: int) -> float:
    """Share of the `rest` of other labels that the net takes for `label` stamped, and not as it is.

    Stamped is what the `marked` rows change in the mean, beside the rest, and how much they let
    shine through (`Trigger`). 0 for what is no image, and where there is nothing to stamp.
    """
    order = torch.randperm(rest.count, generator=generator(seed, "stamped"))[:MOST]
    rest = rest.with_(rows=rest.rows[order.to(rest.rows.device)], augment=None)
    if marked.count < 2 or not rest.count or next(iter(rest))[0].dim() != 4:
        return 0.0
    trigger = Trigger(Moments.of(marked), Moments.of(rest), False)
    turned = asked = 0
    for x, y in rest:
        x = x[y != label].float()
        if len(x):
            plain, stamped = (net(z).argmax(1) == label for z in (x, trigger.stamp(x)))
            turned, asked = turned + int((stamped & ~plain).sum()), asked + len(x)
    return turned / asked if asked else 0.0
