"""Refusing what a user can mend, and what is not finite; each in one sentence.

Imports torch only.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class BadInput(ValueError):
    """A value the user can mend; its message is one sentence, shown without a traceback."""


class Diverged(BadInput):
    """A loss, importance or weight is not finite: the run is over and nothing of it is kept."""


def require(holds: bool, sentence: str) -> None:
    """Raise `BadInput(sentence)` unless `holds`."""
    if not holds:
        raise BadInput(sentence)


def one_of(name: str, value: str, allowed: Iterable[str]) -> None:
    """Raise `BadInput` unless `value` is one of those allowed."""
    options = list(allowed)
    require(value in options, f"{name}={value} is unknown; choose {' or '.join(options)}")


def finite(value: Tensor, what: str) -> Tensor:
    """`value` if all of it is finite, else raises `Diverged`: no diverged run becomes a result."""
    if not torch.isfinite(value).all():
        raise Diverged(
            f"{what} is not finite; a lower learning rate or trainer.precision=32-true may help"
        )
    return value
