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


def there(accelerator: str | None) -> None:
    """Raise `BadInput` for a GPU that is asked for where there is none."""
    require(
        accelerator != "gpu" or torch.cuda.is_available(),
        "trainer=gpu finds no GPU; use trainer=cpu or trainer=auto",
    )


def finite(value: Tensor, what: str) -> Tensor:
    """`value` if all of it is finite, else raises `Diverged`: no diverged run becomes a result.

    On a GPU it waits for the value; in a loop `Watch` waits seldom.
    """
    if not torch.isfinite(value).all():
        raise Diverged(
            f"{what} is not finite; a lower learning rate or trainer.precision=32-true may help"
        )
    return value


class Watch:
    """`finite` for a loop: values are looked at where they are, the answer is fetched seldom.

    `watch(loss, what)` returns the loss; every `EVERY` calls, and in `close()`, it raises
    `Diverged` if one so far was not finite.
    """

    EVERY = 50

    def __init__(self) -> None:
        self.calls, self.what = 0, ""
        self.sound: Tensor | None = None

    def __call__(self, value: Tensor, what: str) -> Tensor:
        now = torch.isfinite(value.detach()).all()
        self.sound = now if self.sound is None else self.sound & now
        self.calls, self.what = self.calls + 1, what
        if self.calls % self.EVERY == 0:
            self.close()
        return value

    def close(self) -> None:
        if self.sound is not None:
            finite(torch.where(self.sound, 0.0, torch.nan), self.what)
