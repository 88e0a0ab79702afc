"""The victim of a cell: restored, or fitted and kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import lightning as L
from torch import nn

from antidote.engine.callback import KeepVictim
from antidote.engine.store import Store
from antidote.model.classifier import Classifier

log = logging.getLogger(__name__)
KIND = "victims"


class Training:
    """`module` is restored from the store under `key`, or is still to be fitted.

    `brought`: it holds weights from a file already.

    `steps` are those left to fit, with `callbacks`, the first of which keeps the victim as soon as
    it is fitted; only then other jobs get at the entry. `seconds`: what the fit took, or had taken,
    None for a victim from a file; `epochs`: its figures.
    """

    def __init__(
        self,
        module: Classifier,
        store: Store,
        key: str,
        steps: int,
        brought: bool = False,
        tell: Callable[[Mapping[str, float], int], None] = lambda figures, epoch: None,
        **about: str,
    ) -> None:
        self.store, self.key, self.lock = store, key, store.lock(KIND, key)
        self.about = about
        self.seconds: float | None = None
        self.epochs: list[dict[str, float]] = []
        self.callbacks: list[L.Callback] = []
        self.module, self.brought, self.tell = module, brought, tell
        self.restored, self.steps, self.asked = True, 0, steps

    def __enter__(self) -> Training:
        """Restores the victim; one that is to be fitted is fitted by nobody else meanwhile."""
        if not self.brought and not self.found() and not self.found_after_waiting():
            self.restored, self.steps = False, self.asked
            self.callbacks = [KeepVictim(self.keep, self.tell)]
            log.info("fitting the victim: %d steps", self.steps)
        return self

    def found_after_waiting(self) -> bool:
        if self.store.mode == "off":
            return False
        self.lock.acquire()
        return self.found()

    def found(self) -> bool:
        entry = self.store.read(KIND, self.key)
        if entry is None:
            return False
        tensors, about = entry
        self.module.net.load_state_dict(tensors)
        self.seconds, self.epochs = about["seconds"], about["epochs"]
        log.info("victim restored from %s", self.store.path(KIND, self.key))
        self.release()
        return True

    def keep(self, net: nn.Module, seconds: float, epochs: list[dict[str, float]]) -> None:
        self.seconds, self.epochs = seconds, epochs
        about = {"seconds": seconds, "epochs": epochs, **self.about}
        self.store.write(KIND, self.key, net.state_dict(), **about)
        self.release()

    def release(self) -> None:
        self.lock.release()

    def __exit__(self, *error: object) -> None:
        self.release()
