"""Hydra for a call from Python: beside any other Hydra program, and gone when the call is over."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobRuntime
from hydra.errors import HydraException
from hydra.version import VersionBase
from omegaconf.basecontainer import BaseContainer
from omegaconf.errors import OmegaConfBaseException

from antidote.core import BadInput
from antidote.core.precision import float32
from antidote.door.place import CONF, enter, own
from antidote.engine.code import anew

OF_A_PROGRAM = GlobalHydra, HydraConfig, JobRuntime, VersionBase
OF_HYDRA = "hydra", "now", "python_version"  # resolvers
ONE = threading.RLock()  # Hydra knows one program at a time
LINE = "[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"  # as Hydra's log files have it


@contextmanager
def session() -> Iterator[Any]:
    """Hydra, set up for antidote; what it refuses is a `BadInput`."""
    enter()
    with ONE, anew(), apart(), refused(), initialize_config_dir(str(CONF), "run", "1.3"):
        yield GlobalHydra.instance().hydra


@contextmanager
def apart() -> Iterator[None]:
    """Another Hydra program's singletons and resolvers are as they were afterwards."""
    before, resolvers = Singleton._instances, BaseContainer._resolvers
    Singleton._instances = {k: v for k, v in before.items() if k not in OF_A_PROGRAM}
    BaseContainer._resolvers = dict(resolvers)
    try:
        yield
    finally:
        made = {k: v for k, v in Singleton._instances.items() if k not in OF_A_PROGRAM}
        Singleton._instances = {**made, **{k: before[k] for k in OF_A_PROGRAM if k in before}}
        own = {k: v for k, v in BaseContainer._resolvers.items() if k not in OF_HYDRA}
        BaseContainer._resolvers = {**own, **resolvers}


@contextmanager
def refused() -> Iterator[None]:
    """What would end a process with a sentence, and what Hydra raises, as `BadInput`."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise BadInput(sentence(str(error) or str(error.__cause__))) from error
    except SystemExit as end:
        if not isinstance(end.code, str):
            raise
        raise BadInput(end.code.removeprefix("error: ")) from None


def sentence(text: str) -> str:
    """Hydra's lines as one, without the places where it looked."""
    text = text.partition("Config search path")[0]
    return " ".join(text.replace(":\n\t", ": ").replace("\n\t", ", ").split())


def program() -> str:
    """The override that says how a command begins where nobody typed one."""
    checkout = Path("conf").is_dir() and own() is None
    return f"hydra.help.app_name={'python run.py' if checkout else 'antidote'}"


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """antidote's log goes to a file as well; the caller's own logging gets what it would get."""
    logger = logging.getLogger("antidote")
    level, propagate = logger.level, logger.propagate
    file, onward = logging.FileHandler(path, encoding="utf-8"), Onward(logger.getEffectiveLevel())
    file.setFormatter(logging.Formatter(LINE))
    logger.setLevel(min(logging.INFO, onward.level))
    logger.propagate = False
    for handler in (file, onward):
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in (file, onward):
            logger.removeHandler(handler)
        file.close()
        logger.setLevel(level)
        logger.propagate = propagate


@contextmanager
def undisturbed() -> Iterator[None]:
    """What a run sets for its whole process is as it was afterwards."""
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    try:
        with warnings.catch_warnings(), float32(torch.device("cpu")), torch.enable_grad():
            yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = benchmark


class Onward(logging.Handler):
    """Hands records of at least its level to the root logger's handlers."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger().callHandlers(record)
