"""What tests share: an environment without telemetry; whole runs, in this or another process."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings

for name in (
    "MLFLOW_DISABLE_TELEMETRY",
    "DO_NOT_TRACK",
):  # before anything imports mlflow; subprocesses inherit it
    os.environ[name] = "true"

settings.register_profile("antidote", deadline=None)  # a busy machine is no failure
settings.load_profile("antidote")

ROOT = Path(__file__).parents[1]
SMALL = [
    "dataset=digits",
    "dataset.limit=600",
    "model.net.width=0.125",
    "recipe.epochs=1",
    "threads=1",
]


class Left(dict):
    """A run's result.json, with the folder it lies in and what Hydra was told."""

    folder: Path
    objective: float


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Threads cost such small tensors more than they give."""
    if "torch" in sys.modules:  # imported by whichever test needs it
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def small():
    """Overrides for a run of a second."""
    return SMALL


@pytest.fixture(scope="session")
def launch():
    """`launch(place, *overrides)` goes the route of `python run.py SMALL overrides`.

    It writes below `place` only. No MLflow, unless overridden; `small=[]` leaves the shrinking to
    the caller. Runs of one place share its store, and each has a folder of its own.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict

    from antidote.door.shell import job
    from hydra_plugins.antidote_plugins import quoted

    def launch(place, *overrides, small=SMALL):
        folder = place / f"run{len(list(place.glob('run*')))}"
        folder.mkdir()
        places = [
            f"output={place}/output",
            f"data_folder={place}/data",
            f"hydra.runtime.output_dir={folder}",
        ]
        fixed = ["logger=none", "progress=false", f"hydra.runtime.cwd={ROOT}", "hydra.mode=RUN"]
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            said = map(quoted, [*small, *fixed, *places, *overrides])
            cfg = compose("config", list(said), return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        with open_dict(cfg):
            del cfg["hydra"]
        objective = job(cfg)
        left = Left(json.loads((folder / "result.json").read_text()))
        left.folder, left.objective = folder, objective
        return left

    return launch


@pytest.fixture
def run(launch, tmp_path, monkeypatch):
    """`run(*overrides)`: `launch` below tmp_path, no pictures: drawing is most of a tiny run."""
    monkeypatch.setattr("antidote.task.route.draw", lambda folder: [])
    return partial(launch, tmp_path)


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    """MLflow's, whole and without runs, to be copied: making one takes seconds."""
    from antidote.engine.mlflow import Mlflow

    place = tmp_path_factory.mktemp("database")
    Mlflow(f"sqlite:///{place}/mlflow.db", "antidote", f"{place}/artifacts").prepare()
    return place / "mlflow.db"


@pytest.fixture
def tiny():
    """60 + 24 random colour images of 12x12 pixels, 4 classes in turn; not augmented."""
    import torch

    from antidote.core import Data, Samples

    coin = torch.Generator().manual_seed(0)
    x = torch.randint(256, (84, 3, 12, 12), generator=coin, dtype=torch.uint8)
    y = torch.arange(84) % 4
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])
    classes = ("ant", "bee", "cat", "dog")
    return Data(
        Samples(x[:60], y[:60]),
        Samples(x[60:], y[60:]),
        classes,
        lambda x, generator: x,
        {"mean": mean, "std": std},
    )


@pytest.fixture(scope="session")
def cli():
    """`cli(*arguments, **environment)` is `python run.py arguments`, both output streams kept."""

    def cli(*arguments, cwd=ROOT, python=(), **environment):
        command = [sys.executable, *python, ROOT / "run.py", *arguments]
        environment = (
            os.environ | {"COLUMNS": "400"} | environment
        )  # a wide terminal, so that rich folds no table
        return subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
        )

    return cli
