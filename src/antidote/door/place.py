"""Where options are found, antidote's and one's own, whichever door is used.

Every start imports this, so it imports nothing heavy.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

log = logging.getLogger(__name__)
CONF = (Path(__file__).parents[1] / "conf").resolve()  # in a checkout a link to its conf/
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # a server that went away costs seconds, not minutes: the record on disk is the truth
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    # idle threads sleep: parallel jobs on few cores do not starve
    "OMP_WAIT_POLICY": "passive",
}


def own() -> Path | None:
    """./conf, if it is not antidote's."""
    here = Path.cwd() / "conf"
    return here if here.is_dir() and not here.samefile(CONF) else None


def enter() -> None:
    """Before Hydra starts: the environment, and code beside one's own options can be imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    importable(str(Path.cwd()))


def begin() -> None:
    """The same for a job, in whichever process it runs; says which options are not one's own."""
    hydra = HydraConfig.get()
    importable(hydra.runtime.cwd)
    if unread := list(passed_over(hydra.runtime.choices)):
        more = f" and {len(unread) - 1} others there" if len(unread) > 1 else ""
        told = "%s%s: not read, since %s has options of that name; give yours another"
        log.warning(told, unread[0], more, CONF)


def importable(folder: str) -> None:
    """Comes last, so that nothing in a folder takes the place of an installed package."""
    if folder not in sys.path:
        sys.path.append(folder)


def passed_over(choices: Mapping[str, str | None]) -> Iterator[Path]:
    """Files of one's own that bear the name of an option that was chosen, and is antidote's."""
    mine = own()
    if mine is not None:
        names = [f"{group}/{option}.yaml" for group, option in choices.items()]
        yield from (mine / n for n in names if (mine / n).is_file() and (CONF / n).is_file())
