"""Sweeps in this process: set up and looked at, or carried out as `python run.py -m` does."""

import importlib.util
import io
import json
import logging
import os
import subprocess
import sys
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.types import RunMode

from antidote.door.shell import job
from antidote.engine.records import Records
from hydra_plugins.antidote_plugins import quoted

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
PLAIN = ["unlearning=none", "progress=false", "pictures=false", "save_models=false", "logger=none"]

# two jobs at a time; what the test environment lacks is skipped
NEEDS = {"joblib": "joblib", "ray": "ray", "submitit_local": "submitit"}
LAUNCHERS = {
    name: pytest.param(
        [f"hydra/launcher={name}", "hydra.launcher.n_jobs=2"],
        id=name,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(package) is None, reason=f"{package} is not installed"
        ),
    )
    for name, package in NEEDS.items()
}


@contextmanager
def set_up(*overrides: str):
    """As Hydra leaves it for a task that looks at a sweep; yields its config."""
    places = [f"hydra.runtime.{name}=/nowhere" for name in ("cwd", "output_dir")]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        cfg = hydra.compose_config(
            "config", [*overrides, *places], RunMode.MULTIRUN, with_log_configuration=False
        )
        HydraConfig.instance().set_config(cfg)
        yield cfg


@dataclass
class Swept:
    """How a sweep ended: its exit status or last sentence, what it printed and logged."""

    status: int | str
    out: str
    log: str
    folder: Path
    output: Path

    @property
    def records(self) -> dict[str, dict]:
        return {record["id"]: record for record in Records(self.output)}

    def started(self) -> list[str]:
        """The jobs that were started in its folder."""
        return sorted(p.parent.name for p in self.folder.glob("*/.hydra"))

    def result(self, job: int | str) -> dict:
        return json.loads((self.folder / str(job) / "result.json").read_text())

    def table(self) -> list[list[str]]:
        """Rows of its closing table, word by word."""
        lines = self.out.partition("Jobs; figures in %")[2].splitlines()
        first = next(i for i, line in enumerate(lines) if "─" in line) + 1
        last = next(i for i in range(first, len(lines)) if not lines[i].strip())
        return [line.split() for line in lines[first:last]]


def sweep(place: Path, *overrides: str, folder: Path | None = None, named: bool = True) -> Swept:
    """Below `place`, its jobs in `folder` or a new one; PLAIN, unless overridden."""
    place.mkdir(parents=True, exist_ok=True)
    folder = folder or place / f"sweep{len(list(place.glob('sweep*')))}"
    places = [f"output={place}/output", f"data_folder={place}/data"]
    places += [f"hydra.sweep.dir={folder}"] * named
    quiet = ["hydra.mode=MULTIRUN", "hydra/job_logging=none", "hydra/hydra_logging=none"]
    said = {o.partition("=")[0]: quoted(o) for o in [*places, *quiet, *PLAIN, *overrides]}
    out, log = io.StringIO(), io.StringIO()
    before = Singleton.get_state()
    try:
        with redirect_stdout(out), logged(log), patch.dict(os.environ, COLUMNS="400"):
            status = ended(list(said.values()))
    finally:
        Singleton.set_state(before)
    if not named:
        folder = Path(out.getvalue().rpartition("folders in ")[2].splitlines()[0])
    return Swept(status, out.getvalue(), log.getvalue(), folder, place / "output")


def ended(said: list[str]) -> int | str:
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            GlobalHydra.instance().hydra.multirun("config", job, said, False)
    except SystemExit as end:
        return end.code
    raise AssertionError("a sweep ends its process")


@contextmanager
def logged(to: io.StringIO):
    logger, handler = logging.getLogger("antidote"), logging.StreamHandler(to)
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


def begun(*overrides, **environment):
    """`python run.py -m` at the head of a process group of its own."""
    return subprocess.Popen(
        [sys.executable, ROOT / "run.py", "-m", *overrides],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "200"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
