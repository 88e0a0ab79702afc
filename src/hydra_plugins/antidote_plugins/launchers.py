"""Where the jobs of a sweep run: worker processes, Ray, or submitit, which knows Slurm.

Hydra imports this module at every start, so it imports nothing heavy.
"""

from __future__ import annotations

import copy
import os
import shutil
import signal
import threading
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from omegaconf import OmegaConf

from hydra_plugins.antidote_plugins._parallel import Job, Parallel, failed, here, needs

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


class Joblib(Parallel):
    """Worker processes of this machine that are used again; `more` are settings of joblib's."""

    def __init__(self, n_jobs: int, threads: int, **more: Any) -> None:
        super().__init__(n_jobs, threads)
        self.more = more

    def gpus(self) -> list[str]:
        return here() if self.n_jobs > 1 else []

    def carry_out(self, jobs: Sequence[Job]) -> Sequence[JobReturn | None]:
        """Raises joblib's BrokenProcessPool when a worker dies, which takes the others with it."""
        import joblib

        parallel = joblib.Parallel(self.n_jobs, **{"backend": "loky", "batch_size": 1, **self.more})
        return parallel(joblib.delayed(job)() for job in jobs)


class Ray(Parallel):
    """Ray, started here and ended with the sweep, or a cluster of it at `address`.

    A job takes `threads` of its CPUs, and `num_gpus`.
    """

    def __init__(
        self, n_jobs: int, threads: int, address: str | None, num_gpus: float, **more: Any
    ) -> None:
        needs("ray", "ray", "ray")
        super().__init__(n_jobs, threads)
        self.address, self.num_gpus, self.more = address, num_gpus, more

    def carry_out(self, jobs: Sequence[Job]) -> Sequence[JobReturn | None]:
        for name in ("RAY_USAGE_STATS_ENABLED", "RAY_DEDUP_LOGS", "RAY_COLOR_PREFIX"):
            os.environ.setdefault(name, "0")
        import ray

        with same_end():
            ray.init(**{"logging_level": "WARNING", **self.place(), **self.more})
        try:
            # a task that Ray tried again would be a cell begun twice: what is tried again, and how
            # often, is the sweep's to say
            how = {"num_cpus": self.threads, "num_gpus": self.num_gpus, "max_retries": 0}
            begin = ray.remote(**how)(Job.__call__)
            running = [begin.options(name=f"job {job.number}").remote(job) for job in jobs]
            return [self.ended(job) for job in running]
        finally:
            ray.shutdown()

    def place(self) -> dict[str, Any]:
        if self.address is not None:
            return {"address": self.address}
        room = 100_000_000  # bytes for what jobs return, which is little
        cpus = self.n_jobs * self.threads
        return {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": room}

    def ended(self, job: Any) -> JobReturn | None:
        import ray

        try:
            return ray.get(job)
        except ray.exceptions.RayTaskError as error:
            return failed(error)
        except ray.exceptions.RayError:
            return None


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
        asked = OmegaConf.to_object(OmegaConf.create(self.asked))
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

    def gpus(self) -> list[str]:
        return here()  # submitit would hide them

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
def same_end() -> Iterator[None]:
    """SIGTERM goes on to end the sweep, with its table: Ray's own way is to dump core."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


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
