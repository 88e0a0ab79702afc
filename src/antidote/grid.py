"""The cells of a sweep, worked out as Hydra's own sweeper does, without running any."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.defaults_list import create_defaults_list
from hydra.core.default_element import ResultDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict


def cells() -> list[list[str]]:
    """The overrides of each job of the sweep that is set up, tasks left out.

    Axes come first from the experiment; what is typed on the command line replaces an axis.
    """
    hydra = HydraConfig.get()
    axes = [f"{key}={value}" for key, value in (hydra.sweeper.params or {}).items()]
    typed = [o for o in hydra.overrides.task if not o.startswith("task=")]
    parsed = OverridesParser.create().parse_overrides([*axes, *typed])
    return [list(job) for job in BasicSweeper.split_arguments(parsed, None)[0]]


@contextmanager
def composer() -> Iterator[Composer]:
    """`compose(overrides)` for many jobs; afterwards `HydraConfig` is as it was."""
    before = HydraConfig.instance().cfg
    try:
        yield Composer(OmegaConf.create({"hydra": deepcopy(HydraConfig.get())}))
    finally:
        HydraConfig.instance().cfg = before


Base = tuple[dict[str, Any], dict[str, Any], list[Override]]


class Composer:
    """The config of one job after the other, with `HydraConfig` set to it.

    Hydra reads and merges some thirty files for each job. Here a file is read once, jobs that
    choose the same options share what these merge to, and Hydra's own settings stay as they are.
    """

    def __init__(self, whole: DictConfig) -> None:
        loader = GlobalHydra.instance().config_loader()
        assert isinstance(loader, ConfigLoaderImpl)
        self.loader, self.whole, self.name = loader, whole, whole.hydra.job.config_name
        for node in (whole, whole.hydra):
            OmegaConf.set_readonly(node, False)
        self.files = self.repository()
        self.is_group = functools.cache(self.files.group_exists)
        self.read = functools.cache(self.read_file)
        self.bases: dict[tuple[str | None, ...], Base] = {}

    def repository(self) -> CachingConfigRepository:
        fresh = CachingConfigRepository(self.loader.repository)
        self.loader._process_config_searchpath(self.name, [], fresh)
        return fresh

    def __call__(self, overrides: Sequence[str]) -> DictConfig:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        options = [o for o in parsed if self.is_group(o.key_or_group)]
        chosen = tuple(o.input_line for o in options)
        if chosen not in self.bases:
            self.bases[chosen] = self.base(options)
        content, choices, values = self.bases[chosen]
        cfg = OmegaConf.create(content)
        OmegaConf.set_struct(cfg, True)
        rest = [o for o in parsed if not self.is_group(o.key_or_group)]
        self.loader._apply_overrides_to_config([*values, *rest], cfg)
        with open_dict(self.whole):
            self.whole.hydra.runtime.choices = choices
        self.whole.hydra.overrides.task = list(overrides)
        HydraConfig.instance().cfg = self.whole  # type: ignore[assignment]
        return cfg

    def base(
        self, options: list[Override]
    ) -> tuple[dict[str, Any], dict[str, Any], list[Override]]:
        """(what the chosen files merge to, all choices, values among `options`)"""
        found = create_defaults_list(self.files, self.name, options, False, False)
        content: dict[str, Any] = {}
        try:
            for default in found.defaults:
                merge(content, self.read(default.config_path, default.package, default.primary))
        except Interpolated:  # only Hydra's own merge knows what the interpolation leads to
            merged = self.loader._compose_config_from_defaults_list(
                found.defaults, self.repository()
            )
            content = plain(merged)
        content.pop("hydra", None)
        return content, dict(found.overrides.known_choices), found.config_overrides

    def read_file(self, path: str, package: str | None, primary: bool) -> dict[str, Any]:
        default = ResultDefault(config_path=path, package=package, primary=primary)
        return plain(self.loader._load_single_config(default, self.files).config)


class Interpolated(Exception):
    """Settings meet a reference to other settings."""


def plain(cfg: Any) -> dict[str, Any]:
    """As dicts, with interpolations as they are written."""
    return OmegaConf.to_container(cfg)  # type: ignore[return-value]


def merge(into: dict[str, Any], settings: dict[str, Any]) -> None:
    """Settings that come later replace those before, group by group."""
    for key, value in settings.items():
        there = into.get(key)
        if isinstance(value, dict) and isinstance(there, str):
            raise Interpolated(key)
        if isinstance(value, dict) and isinstance(there, dict):
            merge(there, value)
        elif value != "???" or key not in into:
            into[key] = deepcopy(value)


def command(overrides: Sequence[str]) -> str:
    """What to type to run one cell again."""
    return " ".join(["python run.py", *map(shlex.quote, overrides)])
