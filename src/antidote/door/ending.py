"""How a run ends for the shell: one sentence and an exit status, instead of an exception."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from antidote.core import BadInput
from antidote.engine.stop import STOPPED, Terminated, sentence_of


@contextmanager
def ending() -> Iterator[None]:
    """Around what runs alone; a sweep hears of Ctrl-C from its job, and ends as a whole."""
    alone = HydraConfig.get().mode == RunMode.RUN
    try:
        yield
    except BadInput as error:
        raise SystemExit(f"error: {sentence_of(error)}") from None
    except (KeyboardInterrupt, Terminated) as stop:
        if not alone:
            raise
        print(f"{sentence_of(stop)}; type the same command to begin again", file=sys.stderr)
        raise SystemExit(STOPPED[type(stop)]) from None
