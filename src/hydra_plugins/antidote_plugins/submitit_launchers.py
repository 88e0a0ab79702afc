"""Launchers that go by submitit: jobs as Slurm runs them, on a cluster or on this machine.

Hydra imports this module at every start, so it imports nothing heavy.
"""

from __future__ import annotations

import copy
import os
import shutil
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from omegaconf import OmegaConf

from hydra_plugins.antidote_plugins._machine import here
from hydra_plugins.antidote_plugins._parallel import Job, Parallel, failed, needs

# settings of all of submitit's executors
EVERY = (
    "name",
    "timeout_min",
    "mem_gb",
    "nodes",
    "cpus_per_task",
    "gpus_per_node",
    "tasks_per_node",
    "stderr_to_stdout",
)


class Queued(Job):
    """A job that is begun anew when it was preempted, or its time was over."""

    again = False

    def __call__(self) -> JobReturn:
        returned = super().__call__()
        if self.again:
            from submitit.local.local import LOCAL_REQUEUE_RETURN_CODE

            raise SystemExit(LOCAL_REQUEUE_RETURN_CODE)  # what was returned is of a broken attempt
        return returned

    def checkpoint(self) -> Any:
        """submitit asks for it and ends this attempt; the next finds what the store has by then."""
        from submitit.helpers import DelayedSubmission

        new, self.again = copy.copy(self), True
        return DelayedSubmission(new)


class Submitit(Parallel):
    """`asked` are settings of submitit's; what jobs print goes to `folder`."""

    cluster: str
    option: str

    def __init__(
        self, n_jobs: int, threads: int, folder: str, max_num_timeout: int, **asked: Any
    ) -> None:
        needs("submitit", self.option, "slurm")
        super().__init__(n_jobs, threads)
        self.folder, self.max_num_timeout, self.asked = folder, max_num_timeout, asked

    def job(self, number: int, overrides: Sequence[str]) -> Job:
        return Queued(self, number, overrides)

    def executor(self) -> Any:
        """submitit's; what not all of its executors have is given the name of this one."""
        import submitit

        timeouts = {f"{self.cluster}_max_num_timeout": self.max_num_timeout}
        executor = submitit.AutoExecutor(self.folder, cluster=self.cluster, **timeouts)
        asked: Any = OmegaConf.to_object(OmegaConf.create(self.asked))
        executor.update_parameters(
            **{k if k in EVERY else f"{self.cluster}_{k}": v for k, v in asked.items()}
        )
        return executor

    def carry_out(self, jobs: Sequence[Job]) -> Sequence[JobReturn | None]:
        running: list[Any] = []
        try:
            for job in self.begin(self.executor(), jobs):
                running.append(job)
            return [self.ended(job) for job in running]
        except BaseException:
            self.stop(running)
            raise

    @abstractmethod
    def begin(self, executor: Any, jobs: Sequence[Job]) -> Iterator[Any]:
        """submitit's jobs."""

    def ended(self, job: Any) -> JobReturn | None:
        import submitit.core.utils as submitit

        try:
            return job.result()
        except submitit.FailedJobError as error:
            return failed(error)
        except submitit.UncompletedJobError:
            return None

    def stop(self, running: Sequence[Any], patience: float = 10) -> None:
        for job in running:
            job.cancel(check=False)
        end = time.monotonic() + patience
        while time.monotonic() < end and not all(job.done() for job in running):
            time.sleep(0.1)


class SubmititLocal(Submitit):
    cluster, option = "local", "submitit_local"

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.gpus = here()  # submitit hides them

    def begin(self, executor: Any, jobs: Sequence[Job]) -> Iterator[Any]:
        """submitit itself would begin all at once."""
        running: list[Any] = []
        for job in jobs:
            while len(running := [r for r in running if not r.done()]) >= self.n_jobs:
                time.sleep(0.1)
            with errors_to(Path(self.folder) / "submitit.err"):
                running.append(executor.submit(job))
            yield running[-1]


class SubmititSlurm(Submitit):
    cluster, option = "slurm", "submitit_slurm"

    def __init__(self, **settings: Any) -> None:
        from antidote.core import require

        super().__init__(**settings)
        self.asked["array_parallelism"] = self.n_jobs
        require(
            shutil.which("sbatch") is not None and shutil.which("srun") is not None,
            "hydra/launcher=submitit_slurm needs Slurm's sbatch and srun, which are not on this "
            "machine; type the command on a login node of the cluster",
        )

    def begin(self, executor: Any, jobs: Sequence[Job]) -> Iterator[Any]:
        yield from executor.submit_array(jobs)


@contextmanager
def errors_to(path: Path) -> Iterator[None]:
    """For processes begun here: those that watch over jobs say on Ctrl-C where they were."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = os.dup(2)
    try:
        with path.open("a") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
