"""What is run: one cell of a grid, with the one identity it has everywhere.

The only module that reads Hydra's globals.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from antidote.core.checks import BadInput, one_of, require, there
from antidote.core.data import fingerprint
from antidote.engine.code import code, targets
from antidote.engine.disk import digest_of
from antidote.engine.paths import at_home, by_bytes

Settings = dict[str, Any]
GROUPS = ("dataset", "model", "recipe", "poison", "discovery", "tracing", "unlearning")
# what determines a result; the rest is only referred to, or says where, how fast, what to leave
ACTING = (*GROUPS, "trainer", "seed", "victim")
START = ("python", "run.py")
FILE = "file"
RESUME = ("on", "off", "failed", "true", "false")
PLACED = re.compile(r"\$\{(output|store|data_folder)\b")
# settings of a Trainer that change no weight; everything else under `trainer` does, or may
NEUTRAL = (
    "accelerator",
    "devices",
    "enable_progress_bar",
    "enable_model_summary",
    "enable_checkpointing",
    "num_sanity_val_steps",
    "log_every_n_steps",
    "logger",
    "profiler",
    "benchmark",
    "default_root_dir",
)


def resolved(cfg: DictConfig) -> tuple[Settings, Settings]:
    """(all settings, what of them determines a result), as plain dicts."""
    raw, settings = (OmegaConf.to_container(cfg, resolve=done) for done in (False, True))
    assert isinstance(raw, dict)
    assert isinstance(settings, dict)
    kept = {key: placeless(raw[key], settings[key]) for key in ACTING}
    return at_home(settings), neutral(kept)


def placeless(raw: Any, settings: Any) -> Any:
    """Resolved settings, but for paths on this machine: ${data_folder} stays as it is written.

    A setting called `file` names one that is read, which is what it holds, wherever it lies.
    """
    if isinstance(settings, dict):
        there = raw if isinstance(raw, dict) else {}
        return {
            key: by_bytes(value) if key == FILE else placeless(there.get(key), value)
            for key, value in settings.items()
        }
    return raw if isinstance(raw, str) and PLACED.search(raw) else settings


def neutral(settings: Any) -> Any:
    """Settings without what a Trainer is told about how to run, wherever a Trainer is described."""
    if isinstance(settings, list):
        return [neutral(value) for value in settings]
    if not isinstance(settings, dict):
        return settings
    trainer = settings.get("_target_") == "antidote.trainer.trainer"
    return {k: neutral(v) for k, v in settings.items() if not (trainer and k in NEUTRAL)}


def short_hash(thing: Any) -> str:
    """Of anything JSON can hold."""
    return hashlib.sha256(json.dumps(thing, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Cell:
    """`settings` as resolved, `content` of them without what changes no result; both plain.

    `folder` is where a job may write, None for a cell that is only looked at. `sweep`: the folder
    of the sweep whose `job` it is, or None. `choices`: the option of each group. `options`: what is
    typed before the overrides. `share`: of the threads of this machine, where a launcher runs
    several jobs on it.
    """

    settings: Settings
    content: Settings
    choices: dict[str, str]
    overrides: tuple[str, ...]
    folder: Path | None = None
    sweep: str | None = None
    job: int | None = None
    log: Path | None = None
    options: tuple[str, ...] = START
    share: int | None = None
    digests: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, cfg: DictConfig) -> Cell:
        """The job that Hydra has set up."""
        hydra = HydraConfig.get()
        folder = Path(hydra.runtime.output_dir)
        settings, content = resolved(cfg)
        return cls(
            settings=settings,
            content=content,
            choices={k: str(v) for k, v in hydra.runtime.choices.items()},
            overrides=tuple(hydra.overrides.task),
            folder=folder,
            sweep=str(hydra.sweep.dir) if hydra.mode == RunMode.MULTIRUN else None,
            job=OmegaConf.select(hydra, "job.num"),  # type: ignore[arg-type]
            log=folder / f"{hydra.job.name}.log",
            options=options(),
            share=share() if hydra.mode == RunMode.MULTIRUN else None,
        )

    @cached_property
    def config_hash(self) -> str:
        """Of the settings alone; cells of two versions of the code or the data have the same."""
        return short_hash(self.content)

    @property
    def command(self) -> str:
        """What to type to run it again."""
        return shlex.join([*self.options, *self.overrides])

    @property
    def output(self) -> Path:
        return Path(self.settings["output"]).expanduser()

    @property
    def seed(self) -> int:
        return self.settings["seed"]

    @property
    def resumes(self) -> bool:
        """Whether a cell that is done is skipped in a sweep."""
        return self.settings["resume"] not in (False, "off")

    @property
    def threads(self) -> int:
        """Threads that a job computes with."""
        return self.settings["threads"] or self.share or cores()

    def check(self) -> None:
        """Refuses what can be seen without data, nets, Lightning and MLflow."""
        seed, threads = self.settings["seed"], self.settings["threads"]
        require(
            isinstance(seed, int) and not isinstance(seed, bool),
            f"seed={seed} is not a whole number",
        )
        require(
            threads is None or (isinstance(threads, int) and threads in range(1, 4097)),
            f"threads={threads} is not a number of threads; give 1 or more, or null for all cores",
        )
        one_of("resume", str(self.settings["resume"]).lower(), RESUME)
        told = [k for k in ("max_steps", "max_epochs") if k in self.settings["trainer"]]
        require(
            not told,
            f"trainer.{'/'.join(told)} is the recipe's to say; use recipe.epochs or recipe.steps",
        )
        require(
            "callbacks" not in self.settings["trainer"],
            "trainer.callbacks are the run's own; write a method or a task for what is to be done",
        )
        there(self.settings["trainer"].get("accelerator"))
        self.file("victim")
        for group in ("discovery", "poison"):
            self.build(group)

        nowhere = [name for name in targets(self.content) if name.startswith("__main__.")]
        require(
            not nowhere,
            f"{', '.join(nowhere)} is defined in the program or notebook itself, so that nobody "
            "could tell when it changes; put it into a module of its own",
        )

    def build(self, group: str) -> Any:
        """The object a group describes; settings its constructor cannot take are one sentence."""
        try:
            return instantiate(self.settings[group])
        except Exception as error:
            if bad_input(error):
                raise
            cause = error.__cause__ or error
            raise BadInput(
                f"{group} cannot be built from its settings: {type(cause).__name__}: {cause}"
            ) from error

    # the chain of fingerprints: each stage's settings, the code it runs, and the stage before it
    def stage(self, *groups: str) -> list[Any]:
        settings = {group: self.content[group] for group in groups}
        return [settings, code([*targets(settings), "antidote.engine.stages"])]

    def poisoned(self, data: str) -> str:
        """The training set, of `data` with that fingerprint; an attack may ask for a clean net."""
        trained_by = ("model", "recipe", "trainer", "seed")
        return fingerprint(data, *self.stage("poison", *trained_by))

    def surrogate(self, data: str) -> str:
        """A net for attacks that craft against one; it knows nothing of the poison."""
        return fingerprint("surrogate", data, *self.stage("model", "recipe", "trainer", "seed"))

    def victim(self, data: str) -> str:
        return fingerprint(self.poisoned(data), "victim", self.file("victim"))

    def ceiling(self, data: str) -> str:
        """The victim as it would be without any of the poison."""
        return fingerprint("ceiling", self.poisoned(data))

    def known(self, data: str) -> str:
        return fingerprint(self.poisoned(data), *self.stage("discovery"))

    def traced(self, data: str) -> str:
        """The split that a method gets; what a tracer finds depends on the victim."""
        return fingerprint(self.victim(data), self.known(data), *self.stage("tracing", "seed"))

    def id(self, data: str) -> str:
        """The last fingerprint: what a record is filed under."""
        return fingerprint(self.traced(data), *self.stage("unlearning", "seed"))

    def scale(self, where: Any) -> str:
        """Work of one scale takes about the same time and space, whatever seed and poison."""
        groups = [seedless(self.content[g]) for g in ("dataset", "model", "recipe", "trainer")]
        return fingerprint(groups, where)

    def file(self, key: str) -> str | None:
        """The digest of a file that a setting names, once per cell."""
        name = self.settings[key]
        if not name:
            return None
        if key not in self.digests:
            path = Path(name).expanduser()
            require(
                path.is_file(),
                f"{key}={name} is not a file; "
                "give one of weights or leave victim=null to train one",
            )
            self.digests[key] = digest_of(path)
        return self.digests[key]


def seedless(settings: Any) -> Any:
    if not isinstance(settings, dict):
        return settings
    return {key: seedless(value) for key, value in settings.items() if key != "seed"}


def options() -> tuple[str, ...]:
    """What is typed before overrides and -m: the program, and where options of one's own are."""
    hydra = HydraConfig.get()
    there = [s.path for s in hydra.runtime.config_sources if s.provider == "command-line"]
    return (*hydra.help.app_name.split(), *(f"--config-dir={path}" for path in there))


def share() -> int | None:
    """CPU threads that the launcher has for each job; None if it says nothing of them."""
    found = OmegaConf.select(HydraConfig.get(), "launcher.threads")  # type: ignore[arg-type]
    require(
        found is None or (isinstance(found, int) and found in range(1, 4097)),
        f"hydra.launcher.threads={found} is not a number of threads; give 1 or more",
    )
    return found


def cores() -> int:
    """CPU cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def command(overrides: Sequence[str]) -> str:
    """What to type in place of the command that is being carried out."""
    return shlex.join([*options(), *overrides])


def bad_input(error: BaseException | None) -> BadInput | None:
    """The `BadInput` behind an error: Hydra wraps what a constructor raises."""
    while error is not None and not isinstance(error, BadInput):
        error = error.__cause__
    return error
