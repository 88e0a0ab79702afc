"""How far a sweep is, while its jobs run in whatever processes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from antidote.progress import Work

EVERY = 1.0  # seconds between two looks


@contextmanager
def watched(folder: str, jobs: int) -> Iterator[None]:
    """Tells how many of so many jobs have ended, by what they leave in the sweep's folder."""
    over = threading.Event()
    teller = threading.Thread(target=tell, args=(Path(folder), jobs, over), daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def tell(folder: Path, jobs: int, over: threading.Event) -> None:
    before, work = ended(folder), Work("sweep", jobs, "jobs")
    while not over.wait(EVERY):
        done = min(jobs, len(ended(folder) - before))
        work.step(n=done - work.done) if done > work.done else work.refresh()
    work.close()


def ended(folder: Path) -> set[tuple[Path, float]]:
    """What jobs left at their end, and when."""
    found = set()
    for path in folder.rglob("result.json"):
        try:
            found.add((path, path.stat().st_mtime))
        except OSError:  # an earlier run's, just removed
            continue
    return found
