"""What a method's work gave, remembered across runs in the store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from antidote.core import Loader, Memo, Tries, Work
from antidote.core.data import digest, fingerprint
from antidote.engine.code import code, paths_of
from antidote.engine.store import Store

log = logging.getLogger(__name__)


def key_of(work: Work, weights: str, loaders: Sequence[str], where: Any) -> str:
    """The fingerprint of a piece of work: a run and a plan work it out alike.

    `weights`: digest of the net's weights and buffers; `loaders`: fingerprints; `where`: the code
    of the net, and the hardware.
    """
    run_by = code(["antidote.core", *paths_of([work.what])])
    return fingerprint(work.kind, work.what, run_by, weights, list(loaders), where)


class Remembered(Memo):
    """Keyed by work, net and loaders as they are at the call."""

    def __init__(self, store: Store, where: Any, **about: Any) -> None:
        self.__store, self.__where, self.__about = store, where, about

    def __key(self, work: Work, net: nn.Module, loaders: Sequence[Loader]) -> str:
        weights = digest(*net.state_dict().values())
        return key_of(work, weights, [loader.fingerprint for loader in loaders], self.__where)

    def tensors(
        self,
        work: Work,
        net: nn.Module,
        loaders: Sequence[Loader],
        compute: Callable[[], dict[str, Tensor]],
    ) -> tuple[dict[str, Tensor], float]:
        key = self.__key(work, net, loaders)
        return self.__store.fetch(work.kind, key, compute, **self.__about)

    def tries(
        self, work: Work, net: nn.Module, loaders: Sequence[Loader]
    ) -> tuple[Tries, Callable[[Tries], None]]:
        store, kind, key = self.__store, work.kind, self.__key(work, net, loaders)
        about = self.__about

        def keep(tries: Tries) -> None:
            if store.mode == "off" or not tries:
                return
            with store.lock(kind, key):  # another search may have added to it meanwhile
                every = tries | known(store, kind, key)
                seconds = sum(row["seconds"] for row in every.values())
                rows = sorted(every.items())
                store.write(kind, key, {}, seconds=seconds, tries=rows, **about)

        return known(store, kind, key), keep


def known(store: Store, kind: str, key: str) -> Tries:
    found = store.read(kind, key)
    return {t: row for t, row in found[1]["tries"]} if found else {}
