"""A net as a model of MLflow, for `mlflow.pytorch.load_model` where antidote is installed."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow import pytorch
from torch import nn

from antidote.engine.modules import source, version_of


def pack(net: nn.Module, folder: Path) -> Path:
    """The net, on the CPU and in evaluation mode, pickled: its code is where it was imported from.

    What it needs is named, not inferred: MLflow would load the model once more for it.
    """
    where, kept = folder / "model", copy.deepcopy(net).cpu().eval()
    with hushed("mlflow.pytorch"):  # pickles are no news to whoever loads nets of their own
        pytorch.save_model(
            kept, where, serialization_format="pickle", pip_requirements=requirements(kept)
        )
    return where


def requirements(net: nn.Module) -> list[str]:
    """Installed packages that its modules come from; antidote is on no index that pip knows."""
    tops = {type(module).__module__.partition(".")[0] for module in net.modules()}
    theirs = {top for top in tops if top != __name__.partition(".")[0] and source(top) is None}
    found = [version_of(top) for top in sorted(theirs | {"torch"})]
    return ["==".join(told.split()) for told in found if told and len(told.split()) == 2]


@contextmanager
def hushed(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
