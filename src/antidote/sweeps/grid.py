"""The cells of a sweep, worked out as Hydra would, without running any."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from antidote.core.checks import require
from antidote.engine.cell import Cell, options, resolved, share
from antidote.sweeps.change import (
    Job,
    Path,
    applied,
    clashing,
    difference,
    joined,
    leaves,
    plain,
    tree,
)

OF_TASKS = ("task", "json")  # what is done with the grid, no part of any cell


def axes() -> list[list[str]]:
    """The values of each axis of the sweep that is set up, as overrides; the task is left out.

    Axes come first from the experiment; what is typed on the command line replaces an axis.
    """
    hydra = HydraConfig.get()
    planned = [f"{key}={value}" for key, value in as_written(hydra.sweeper.get("params")).items()]
    typed = [o for o in as_written(hydra.overrides.task) if o.partition("=")[0] not in OF_TASKS]
    loader = GlobalHydra.instance().config_loader()
    found: dict[str, list[str]] = {}
    for override in OverridesParser.create(loader).parse_overrides([*planned, *typed]):
        key = override.get_key_element()
        if not override.is_sweep_override():
            found[key] = [f"{key}={override.get_value_element_as_str()}"]
            continue
        require(
            override.is_discrete_sweep(),
            f"{override.input_line} has no list of values; a grid needs one, as in seed=0,1,2",
        )
        found[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
    return list(found.values())


def names_a_grid() -> bool:
    """Whether the command line describes one, and not just any run."""
    return HydraConfig.get().mode == RunMode.MULTIRUN or experiment() is not None


def experiment() -> str | None:
    return HydraConfig.get().runtime.choices.get("experiment")


def as_written(part: Any) -> Any:
    """Of Hydra's config, as plain lists and dicts; what ${seed} means is for each job to say."""
    return OmegaConf.to_container(part, resolve=False) if part else {}


def jobs() -> list[Job]:
    """The overrides of each job, in the order in which they run."""
    return list(itertools.product(*axes()))


def cells() -> list[Cell]:
    """The cells of all jobs; `HydraConfig` is as it was afterwards."""
    with composer() as composed:
        cell = composed(axes())
        return [cell(job) for job in jobs()]


@contextmanager
def composer() -> Iterator[Composer]:
    instance = HydraConfig.instance()
    before = instance.cfg
    try:
        yield Composer()
    finally:
        instance.cfg = before


class Composer:
    """Many cells from few compositions.

    Hydra takes a tenth of a second to compose a config. Axes mostly change different settings, so
    the config of a job is that of the first job with what each of its values changes there. Axes
    that touch the same settings are composed together, value by value.
    """

    def __init__(self) -> None:
        hydra = HydraConfig.get()
        self.name = hydra.job.config_name
        said = as_written(hydra.overrides.hydra)
        self.given = [o for o in said if not o.startswith("hydra.mode=")]
        self.known: dict[Job, tuple[dict[Path, Any], dict[Path, Any]]] = {}
        self.hydra: DictConfig | None = None

    def __call__(self, axes: Sequence[Sequence[str]]) -> Callable[[Job], Cell]:
        """What makes the cell of each job of the product of the axes."""
        parts: list[list[Job]] = [[(value,) for value in axis] for axis in axes]
        while True:
            first = [part[0] for part in parts]
            changes = [self.changes(first, i, part) for i, part in enumerate(parts)]
            clash = clashing(changes)
            if clash is None:
                break
            i, j = clash
            parts[i] = [a + b for a, b in itertools.product(parts[i], parts.pop(j))]
        base = self.composed(joined(first))

        def cell(job: Job) -> Cell:
            """Each part has one value whose overrides are all in the job."""
            wanted = set(job)
            chosen = [next(v for v in part if wanted.issuperset(v)) for part in changes]
            return self.cell(base, [c[v] for c, v in zip(changes, chosen, strict=True)], job)

        return cell

    def changes(self, first: list[Job], i: int, part: list[Job]) -> dict[Job, Any]:
        """What each value of part `i` changes against the first job."""
        base, found = self.composed(joined(first)), {}
        for value in part:
            job = joined([*first[:i], value, *first[i + 1 :]])
            set_only = plain(value, job, *base)
            if set_only is None:
                other = self.composed(job)
                found[value] = [difference(a, b) for a, b in zip(base, other, strict=True)]
            else:
                found[value] = [difference(base[0], base[0] | set_only), {}]
        return found

    def composed(self, job: Job) -> tuple[dict[Path, Any], dict[Path, Any]]:
        """(settings, choices) by path, as they are written: nothing is resolved."""
        if job not in self.known:
            cfg = compose(self.name, [*self.given, *job], return_hydra_config=True)
            if self.hydra is None:
                self.hydra = OmegaConf.create({"hydra": cfg.hydra})
                OmegaConf.set_readonly(self.hydra.hydra, False)
            choices = OmegaConf.to_container(cfg.hydra.runtime.choices)
            with open_dict(cfg):
                del cfg["hydra"]
            self.known[job] = leaves(OmegaConf.to_container(cfg)), leaves(choices)
        return self.known[job]

    def cell(self, base: Any, changes: list[Any], job: Job) -> Cell:
        settings, choices = (
            tree(applied(base[k], [change[k] for change in changes])) for k in (0, 1)
        )
        assert self.hydra is not None
        with open_dict(self.hydra):
            self.hydra.hydra.runtime.choices = choices
        HydraConfig.instance().cfg = self.hydra  # type: ignore[assignment]
        cfg = OmegaConf.create(settings)
        chosen = {k: str(v) for k, v in choices.items()}
        return Cell(*resolved(cfg), chosen, job, options=options(), share=share())
