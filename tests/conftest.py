"""What the tests share: an environment without telemetry; `run` and `cli`, a whole run in this or another process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

for name in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):  # before anything imports mlflow; subprocesses inherit it
    os.environ[name] = "true"

ROOT = Path(__file__).parents[1]
SMALL = ["dataset=digits", "model.net.width=0.125", "recipe.epochs=1", "progress=false"]


class Left(dict):
    """A run's result.json, with the folder it lies in."""

    folder: Path


@pytest.fixture
def run(tmp_path, monkeypatch):
    """`run(*overrides)` goes the route of `python run.py SMALL overrides`, on one thread and without MLflow.

    `small=[]` leaves the shrinking to the caller. All runs of a test share its cache; every run has its own folder.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from matplotlib.figure import Figure
    from omegaconf import open_dict

    from antidote.pipeline import main

    # drawing is most of a tiny run; test_command_line.py looks at real pictures
    monkeypatch.setattr(Figure, "tight_layout", lambda *a, **k: None)
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **k: Path(path).touch())
    done = []

    def run(*overrides, small=SMALL):
        folder = tmp_path / f"run{len(done)}"
        folder.mkdir()
        done.append(folder)
        places = [f"output={tmp_path}/output", f"data_folder={tmp_path}/data", f"hydra.runtime.output_dir={folder}"]
        fixed = ["logger=none", "threads=1", f"hydra.runtime.cwd={ROOT}", "hydra.mode=RUN"]
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            cfg = compose("config", [*small, *fixed, *places, *overrides], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        with open_dict(cfg):
            del cfg["hydra"]
        main(cfg)
        left = Left(json.loads((folder / "result.json").read_text()))
        left.folder = folder
        return left

    return run


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
    return Data(Samples(x[:60], y[:60]), Samples(x[60:], y[60:]), classes, lambda x, generator: x, mean, std)


@pytest.fixture(scope="session")
def cli():
    """`cli(*arguments)` is `python run.py arguments`, with both output streams kept; `env` adds to the environment."""

    def cli(*arguments, cwd=ROOT, python=(), env=None):
        command = [sys.executable, *python, ROOT / "run.py", *arguments]
        # a wide terminal, so that rich cuts no table; one thread each, because tests share the cores
        environment = os.environ | {"COLUMNS": "400", "OMP_NUM_THREADS": "1"} | (env or {})
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)

    return cli
