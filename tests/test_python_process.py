"""What a call of antidote leaves of the process: other Hydra programs, logging, threads."""

import logging
import random
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from hydra.version import getbase
from omegaconf import OmegaConf
from omegaconf.basecontainer import BaseContainer
from pythons import QUICK, keywords, python

import antidote
from antidote.door.session import apart


@pytest.fixture
def settings(small, tmp_path, monkeypatch):
    """What makes a run one of a second, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return keywords(small) | QUICK


def process():
    """What a call must leave as it is."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    return {
        "arguments": list(sys.argv),
        "folder": Path.cwd(),
        "random": [str(state) for state in states],
        "threads": torch.get_num_threads(),
        "precision": torch.get_float32_matmul_precision(),
        "convolutions": torch.backends.cudnn.allow_tf32,
        "gradients": torch.is_grad_enabled(),
        "handlers": [list(logging.getLogger(n).handlers) for n in (None, "antidote")],
        "levels": [logging.getLogger(n).level for n in (None, "antidote")],
        "filters": len(warnings.filters),
        "resolvers": OmegaConf.has_resolver("now"),
    }


@pytest.fixture
def untouched():
    """Nothing of what a call must leave as it is has changed at the end of the test."""
    assert antidote.run  # what importing does is no call's doing
    torch.set_num_threads(2)
    before = process()
    yield
    after = process()
    torch.set_num_threads(1)
    assert after == before


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("call", ["run", "sweep"])
def test_a_call_prints_nothing_and_leaves_the_process_as_it_was(settings, call, capsys):
    getattr(antidote, call)(**settings)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("untouched")
def test_so_does_one_that_fails(settings):
    with pytest.raises(antidote.BadInput):
        antidote.run(**settings, poison={"target_class": 99})


def test_the_callers_log_gets_warnings_and_what_it_asks_for(settings, caplog, monkeypatch):
    warned = dict(settings, unlearning="xlf_ptn", poison="sinusoid_clean")
    antidote.run(**warned, poison_rate=0.1)
    levels = {r.levelname for r in caplog.records if r.name.startswith("antidote")}
    assert levels == {"WARNING"}
    caplog.clear()
    monkeypatch.setattr(logging.getLogger("antidote"), "level", logging.INFO)
    antidote.run(**settings)
    assert any("training and" in r.getMessage() for r in caplog.records)


def test_resolvers_of_modules_that_a_run_imports_stay_and_hydras_go(monkeypatch):
    monkeypatch.setattr(BaseContainer, "_resolvers", {})
    with apart():
        OmegaConf.register_new_resolver("twice", lambda x: 2 * x)
        setup_globals()
    assert OmegaConf.has_resolver("twice")
    assert not OmegaConf.has_resolver("now")


@pytest.fixture
def other(tmp_path):
    """Another Hydra program's options, in the ./conf of its folder."""
    (tmp_path / "conf/db").mkdir(parents=True)
    (tmp_path / "conf/app.yaml").write_text("defaults: [_self_, db: small]\nname: mine\n")
    for name in ("small", "large"):
        (tmp_path / f"conf/db/{name}.yaml").write_text(f"size: {name}\n")
    return str(tmp_path / "conf")


def test_it_works_beside_another_hydra_program(settings, other):
    with initialize_config_dir(other, version_base="1.2"):
        cfg = compose("app", return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        before = GlobalHydra.instance().hydra, HydraConfig.get(), getbase()
        assert antidote.run(**settings)["status"] == "ok"
        assert len(antidote.sweep(**settings, seed=[0, 1])) == 2
        after = GlobalHydra.instance().hydra, HydraConfig.get(), getbase()
        assert all(a is b for a, b in zip(before, after, strict=True))
        assert compose("app", ["db=large"]).db.size == "large"
    assert not GlobalHydra.instance().is_initialized()


PROGRAM = """
import hydra
from hydra.core.hydra_config import HydraConfig
import antidote

@hydra.main(version_base="1.3", config_path="conf", config_name="app")
def main(cfg):
    for seed in (0, 1):
        record = antidote.run(**SETTINGS, seed=seed)
        print(record["status"], record["seed"])
    print(HydraConfig.get().job.name, cfg.db.size, HydraConfig.get().runtime.choices)

main()
"""


def test_it_works_inside_a_hydra_main(settings, other, tmp_path):
    (tmp_path / "app.py").write_text(PROGRAM.replace("SETTINGS", repr(settings)))
    done = python(tmp_path, "app.py", "db=large")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if not line.startswith("[")]
    assert lines[:2] == ["ok 0", "ok 1"]
    assert lines[2].startswith("app large {'db': 'large'")


def test_it_works_in_a_thread(settings):
    found = []
    threads = [
        threading.Thread(target=lambda seed=seed: found.append(antidote.run(**settings, seed=seed)))
        for seed in (0, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((record["seed"], record["status"]) for record in found) == [(0, "ok"), (1, "ok")]
