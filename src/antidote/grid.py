"""The cells of a sweep, worked out as Hydra's own sweeper does, without running any."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict


def cells() -> list[list[str]]:
    """The command line's overrides of each job of the sweep that is set up, tasks left out."""
    hydra = HydraConfig.get()
    params = OmegaConf.to_container(hydra.sweeper.params or OmegaConf.create({}))
    assert isinstance(params, dict)
    typed = [o for o in hydra.overrides.task if not o.startswith("task=")]
    own = {o.split("=", 1)[0] for o in typed}
    axes = [f"{key!s}={value!s}" for key, value in params.items() if key not in own]
    parsed = OverridesParser.create().parse_overrides([*axes, *typed])
    return [list(job) for job in BasicSweeper.split_arguments(parsed, None)[0]]


def compose(overrides: Sequence[str]) -> DictConfig:
    """The config of one job, and `HydraConfig` set to it."""
    hydra = HydraConfig.get()
    loader = GlobalHydra.instance().config_loader()
    cfg = loader.load_configuration(
        hydra.job.config_name, [*hydra.overrides.hydra, *overrides], RunMode.RUN
    )
    with open_dict(cfg):  # the launcher fills these in for a job
        cfg.hydra.runtime.cwd = hydra.runtime.cwd
        cfg.hydra.runtime.output_dir = hydra.runtime.output_dir
        cfg.hydra.job.num, cfg.hydra.job.id = 0, "0"
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def command(overrides: Sequence[str]) -> str:
    """What to type to run one cell again."""
    return " ".join(["python run.py", *map(shlex.quote, overrides)])
