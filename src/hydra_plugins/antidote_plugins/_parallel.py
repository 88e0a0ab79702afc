"""What launchers have in common that run jobs side by side.

It is imported at every start, so it imports nothing heavy. Its name begins with a line because
Hydra, looking for plugins, runs other modules here once more: `Parallel` would be two classes.
"""

from __future__ import annotations

import importlib.util
import logging
from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import (
    JobReturn,
    JobStatus,
    configure_log,
    filter_overrides,
    run_job,
    setup_globals,
)
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from hydra_plugins.antidote_plugins._machine import check, counted, one_gpu

log = logging.getLogger(__name__)


class Job:
    """One job of a sweep, for whatever process it is sent to; called, it is Hydra's `JobReturn`."""

    def __init__(self, launcher: Parallel, number: int, overrides: Sequence[str]) -> None:
        self.context, self.task, self.config = launcher.context, launcher.task, launcher.config
        self.number, self.overrides = number, list(overrides)
        self.state = Singleton.get_state()
        self.threads = launcher.threads
        self.gpus, self.places = launcher.gpus, launcher.n_jobs

    def __call__(self) -> JobReturn:
        try:
            return self.run()
        except Exception as error:
            return failed(error)

    def run(self) -> JobReturn:
        setup_globals()
        Singleton.set_state(self.state)
        if self.gpus:
            one_gpu(self.gpus, self.places, Path(self.config.hydra.sweep.dir, ".gpus"))
        config = self.context.config_loader.load_sweep_config(self.config, self.overrides)
        with open_dict(config):
            config.hydra.job.id = f"{config.hydra.job.name}_{self.number}"
            config.hydra.job.num = self.number
            # as the plan has it: a worker sees one GPU only, or another machine
            config.hydra.launcher.threads = self.threads
        HydraConfig.instance().set_config(config)
        return run_job(
            hydra_context=self.context,
            task_function=self.task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )


def failed(error: BaseException) -> JobReturn:
    job = JobReturn(status=JobStatus.FAILED)
    job.return_value = error
    return job


class Parallel(Launcher):
    """`n_jobs` at a time, each with `threads` CPU threads where `threads` of the config is null.

    Jobs are numbered as they are typed, and begun in `order`: positions, or None for as typed.
    """

    order: Sequence[int] | None = None
    gpus: Sequence[str] = ()  # those of this machine that the jobs share out among themselves

    def __init__(self, n_jobs: int, threads: int) -> None:
        check(n_jobs)
        self.n_jobs, self.threads = counted(n_jobs), threads

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """What became of the jobs, as typed; BrokenProcessPool, in the end, if processes died."""
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        order = self.order or range(len(job_overrides))
        jobs = [self.job(initial_job_idx + k, job_overrides[k]) for k in order]
        log.info("%d jobs, %d at a time", len(jobs), self.n_jobs)
        for job in jobs:
            log.info("\t#%d : %s", job.number, " ".join(filter_overrides(job.overrides)))
        ended = dict(zip(order, self.carry_out(jobs), strict=True))
        died = sum(job is None for job in ended.values())
        if died:
            raise BrokenProcessPool(f"the processes of {died} of {len(jobs)} jobs died")
        return [ended[k] for k in range(len(jobs))]  # type: ignore[misc]

    def job(self, number: int, overrides: Sequence[str]) -> Job:
        return Job(self, number, overrides)

    @abstractmethod
    def carry_out(self, jobs: Sequence[Job]) -> Sequence[JobReturn | None]:
        """Begins them in this order and returns when all have ended; None if a process died."""


def needs(package: str, option: str, extra: str) -> None:
    """`BadInput` where the package of a launcher is not installed."""
    from antidote.core import require

    require(
        importlib.util.find_spec(package) is not None,
        f"hydra/launcher={option} needs the package {package}, which is not installed; "
        f"pip install -e '.[{extra}]'",
    )
