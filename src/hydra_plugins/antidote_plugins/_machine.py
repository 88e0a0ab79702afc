"""What this machine has, and how jobs share it: conf/hydra/launcher/ asks for it.

It is imported at every start, so it imports nothing heavy.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

_mine: list[FileLock] = []  # of the GPU that this process has, for as long as it lives


def here() -> list[str]:
    """GPUs that this process may use, as CUDA_VISIBLE_DEVICES has them."""
    import torch

    named, count = os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count()
    return (named.split(",") if named else [str(k) for k in range(count)])[:count]


def one_gpu(gpus: Sequence[str], places: int, folder: Path) -> None:
    """From its first job on a process sees one GPU; `places` processes share them out evenly.

    A process that is killed gives its place back.
    """
    if _mine:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for place in range(places):
        lock = FileLock(folder / f"{place}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        _mine.append(lock)
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[place % len(gpus)]
        return


def check(n_jobs: Any) -> None:
    from antidote.core import require

    require(
        isinstance(n_jobs, int) and not isinstance(n_jobs, bool) and n_jobs != 0,
        f"hydra.launcher.n_jobs={n_jobs} is not a number of jobs; "
        "give 1 or more, or -1 for as many as there are cores",
    )


def counted(n_jobs: Any) -> int:
    """As joblib counts: -1 is one job per core. What is no number is for `check` to refuse."""
    from antidote.engine.cell import cores

    if not isinstance(n_jobs, int):
        return 1
    return max(n_jobs if n_jobs > 0 else cores() + 1 + n_jobs, 1)


# what conf/hydra/launcher/ asks: one job per GPU, or per core where there is none
RESOLVERS: dict[str, Callable[..., float]] = {
    "antidote.jobs": lambda: len(here()) or counted(-1),
    # an equal share of the cores for each
    "antidote.threads": lambda n_jobs: max(counted(-1) // counted(n_jobs), 1),
    # and of the GPUs, at most one
    "antidote.gpus": lambda n_jobs: min(len(here()) / counted(n_jobs), 1),
}
for name, resolver in RESOLVERS.items():
    OmegaConf.register_new_resolver(name, resolver, replace=True)
