"""Launchers: worker processes of this machine, and Ray.

Hydra imports this module at every start, so it imports nothing heavy.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from hydra.core.utils import JobReturn

from hydra_plugins.antidote_plugins._machine import here
from hydra_plugins.antidote_plugins._parallel import Job, Parallel, failed, needs


class Joblib(Parallel):
    """Worker processes of this machine that are used again; `more` are settings of joblib's."""

    def __init__(self, n_jobs: int, threads: int, **more: Any) -> None:
        super().__init__(n_jobs, threads)
        self.more = more
        if self.n_jobs > 1:  # else joblib runs them in this process
            self.gpus = here()

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

        handler = signal.getsignal(signal.SIGTERM)
        ray.init(**{"logging_level": "WARNING", **self.place(), **self.more})
        try:
            # a task that Ray tried again would be a cell begun twice: what is tried again, and how
            # often, is the sweep's to say
            how = {"num_cpus": self.threads, "num_gpus": self.num_gpus, "max_retries": 0}
            begin = ray.remote(**how)(Job.__call__)
            with handled_by(handler):
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


@contextmanager
def handled_by(handler: Any) -> Iterator[None]:
    """SIGTERM does what it did before Ray came, whose own way is to dump core.

    While Ray waits it lets no exception through but KeyboardInterrupt.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[tuple[int, FrameType | None]] = []

    def stop(*signalled: Any) -> NoReturn:
        asked.append(signalled)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        if asked and callable(handler):
            handler(*asked[0])
        raise
    finally:
        signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)
