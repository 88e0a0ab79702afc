"""What it saves that a sweep begins with the cells whose work others need: ratios within one run.

    python benchmarks/cell_order.py [--repeats 3] [--jobs 2]

A grid on digits, typed as the papers' are (seed, rate, known part, method): 24 cells, 4 victims, on
worker processes with one thread each; every sweep in an empty folder, as typed and in our order in
turn. Told is the time from the first line of a job's log to the last, imports and closing report
left out, and how often and how long jobs waited for work that another was at. The ratio of the
jobs' time is what the order saves where nobody else uses the cores; on a busy machine others work
while a job waits, and wall time says little.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import resource
import runpy
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
GRID = [
    "dataset=digits",
    "model.net.width=0.25",
    "recipe.epochs=10",
    "threads=1",
    "progress=false",
    "pictures=false",
    "save_models=false",
    "logger=none",
    "seed=0,1",
    "poison_rate=1pct,2pct",
    "discovery=10pct,50pct",
    "unlearning=none,ssd,xlf",
]
LINE = re.compile(r"^\[(\d+-\d+-\d+ \d+:\d+:\d+),(\d+)\]\[[^]]*\]\[[^]]*\] - (.*)")


def as_typed(arguments: list[str]) -> None:
    """Runs the command in this process, with cells in the order in which they are typed."""
    import antidote.sweeps.order

    antidote.sweeps.order.makers_first = lambda needs: list(range(len(needs)))
    sys.argv = [str(ROOT / "run.py"), *arguments]
    runpy.run_path(sys.argv[0], run_name="__main__")


def swept(program: list[str], jobs: int) -> tuple[float, int, float, float]:
    """Of one sweep: (seconds of all cells together, times a job waited, seconds they waited, CPU
    seconds of the whole command)."""
    launcher = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={jobs}"]
    with tempfile.TemporaryDirectory() as folder:
        place = [f"output={folder}", f"hydra.sweep.dir={folder}/sweep"]
        command = [sys.executable, *program, "-m", *GRID, *launcher, *place]
        before = used()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(done.stdout + done.stderr)
        cpu = used() - before
        logs = [lines(path) for path in Path(folder, "sweep").glob("*/run.log")]
    times = [time for log in logs for time, _ in log]
    waits = [
        after - time
        for log in logs
        for (time, said), (after, _) in itertools.pairwise(log)
        if said.startswith("waiting for")
    ]
    return max(times) - min(times), len(waits), sum(waits), cpu


def used() -> float:
    """CPU seconds of all processes that this one has begun and that have ended."""
    all_of_them = resource.getrusage(resource.RUSAGE_CHILDREN)
    return all_of_them.ru_utime + all_of_them.ru_stime


def lines(log: Path) -> list[tuple[float, str]]:
    """(seconds, what was said) of each line of a job's log."""
    found = filter(None, map(LINE.match, log.read_text().splitlines()))
    return [(datetime.fromisoformat(m[1]).timestamp() + int(m[2]) / 1000, m[3]) for m in found]


def main() -> None:
    if sys.argv[1:2] == ["--as-typed"]:
        return as_typed(sys.argv[2:])
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    wall, held = [], []
    for _ in range(args.repeats):
        typed, ours = (swept(p, args.jobs) for p in ([__file__, "--as-typed"], ["run.py"]))
        wall.append(typed[0] / ours[0])
        shares = []
        for name, (seconds, times, waited, cpu) in (("as typed", typed), ("ours", ours)):
            shares.append(waited / (args.jobs * seconds))
            share = f"{shares[-1]:.0%} of the jobs' time"
            print(
                f"{name:9s} {seconds:6.1f} s; {times} waits, {share}; {cpu:.1f} s CPU", flush=True
            )
        held.append((1 - shares[1]) / (1 - shares[0]))
    for what, ratios in (("jobs' time for the same work", held), ("wall time", wall)):
        told = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{what}, as typed / ours: {statistics.median(ratios):.2f}, of {told}")
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
