"""The command line, for `python run.py` and for the installed `antidote` alike.

It imports Hydra and nothing heavier: torch comes with the task, so that --help stays quick.
"""

from __future__ import annotations

import logging
import os
import sys

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig

from antidote.door.place import CONF, begin, enter
from hydra_plugins.antidote_plugins import at_home, quoted, readable


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def job(cfg: DictConfig) -> float | None:
    """A run, a job of a sweep, or another task."""
    begin()
    (task,) = instantiate(cfg.task).values()
    from antidote.door.ending import ending

    with ending():
        return task(cfg)


def ready() -> None:
    """Environment and arguments, before Hydra looks at them."""
    enter()
    # what cannot be printed, as after `| head -1`, is no trouble of the run's
    logging.raiseExceptions = False
    sys.argv[1:] = [readable(quoted(at_home(argument))) for argument in sys.argv[1:]]


def main() -> None:
    """The console script."""
    os.environ["ANTIDOTE_COMMAND"] = "antidote"  # as it is told to type it again
    ready()
    job()
