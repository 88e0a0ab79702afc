"""CPU seconds of a sweep's cell whose victim and importances are in the store, and of skipping it.

    python benchmarks/cell_overhead.py [--cells 40] [--few 8]

ResNet-9 of width 0.125 on digits, XLF, one thread, no pictures and no models. A sweep of `few`
cells and one of `cells` are timed with resume=false over a store that has everything; a cell costs
their difference over the number of cells by which they differ, so that neither imports nor the
closing table count. CPU time of the whole process, user and system, which other work on the machine
hardly changes. The parts are measured in a second process, by clocks around functions; a clock
stands while another one inside it runs.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import resource
import runpy
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
FIXED = [
    "dataset=digits",
    "model.net.width=0.125",
    "recipe.epochs=1",
    "unlearning=xlf",
    "threads=1",
    "progress=false",
    "pictures=false",
    "save_models=false",
]
PARTS = {
    "composition": [
        "hydra._internal.config_loader_impl:ConfigLoaderImpl.load_sweep_config",
        "hydra.core.utils:configure_log",
        "hydra.core.utils:_save_config",
        "antidote.sweeps.grid:Composer.cell",
        "antidote.engine.cell:Cell.of",
    ],
    "data and fingerprints": [
        "antidote.engine.source:load",
        "antidote.engine.cell:Cell.id",
        "antidote.engine.cell:Cell.known",
        "antidote.engine.cell:Cell.victim",
        "antidote.engine.cell:Cell.poisoned",
        "antidote.engine.memo:key_of",
    ],
    "tracking": [
        f"antidote.engine.mlflow:Mlflow.{name}" for name in ("start", "series", "finish", "attach")
    ],
    "files": [
        "antidote.engine.records:Records.write",
        "antidote.engine.records:Records.read",
        "antidote.engine.records:Marks.mark",
        "antidote.engine.records:Marks.unmark",
        "antidote.engine.disk:Lock.acquire",
        "antidote.engine.disk:Lock.release",
        "antidote.engine.store:Store.read",
        "antidote.engine.store:Store.write",
        "antidote.task.route:leave",
    ],
    "net, attack and method": [
        "antidote.engine.stages:fit",
        "antidote.engine.parts:Parts.__init__",
    ],
    "printing": ["antidote.report.run.terminal:show_result"],
}


class Meter:
    """CPU seconds of this process by part; only the innermost part's clock runs."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self.parts, self.since = ["the rest"], time.process_time()

    def switch(self) -> None:
        now = time.process_time()
        self.spent[self.parts[-1]] += now - self.since
        self.since = now

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self.switch()
            self.parts.append(part)
            try:
                return function(*args, **kwargs)
            finally:
                self.switch()
                self.parts.pop()

        return timed

    def watch(self, part: str, place: str) -> None:
        module, _, name = place.partition(":")
        owner: Any = importlib.import_module(module)
        *path, last = name.split(".")
        for step in path:
            owner = getattr(owner, step)
        found = vars(owner)[last]
        if isinstance(found, classmethod):
            setattr(owner, last, classmethod(self.around(part, found.__func__)))
        else:
            setattr(owner, last, self.around(part, found))


def inside(arguments: list[str]) -> None:
    """Runs the command in this process; its last line of output is the time of its parts."""
    sys.argv = [str(ROOT / "run.py"), *arguments]
    meter = Meter()
    for part, places in PARTS.items():
        for place in places:
            meter.watch(part, place)
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    meter.switch()
    print(json.dumps(meter.spent))


def timed(program: list[str], arguments: list[str]) -> tuple[float, float, str]:
    """(CPU seconds, wall seconds, what it printed) of a command."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *program, "-m", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, wall, done.stdout


def grid(cells: int, output: Path, logger: str) -> list[str]:
    """Two victims, two importances each, and as many edits as it takes."""
    strengths = ",".join(f"{1 + k / 100}" for k in range(cells // 4))
    axes = ["seed=0,1", "discovery=10pct,50pct", f"unlearning.strength={strengths}"]
    return [*FIXED, f"output={output}", f"logger={logger}", *axes]


def measure(cells: int, few: int, output: Path, logger: str) -> None:
    said = {n: grid(n, output, logger) for n in (few, cells)}
    timed(["run.py"], said[cells])  # fills the store
    cpu = {n: timed(["run.py"], [*said[n], "resume=false"])[0] for n in (few, cells)}
    print(f"logger={logger}: {(cpu[cells] - cpu[few]) / (cells - few):.3f} s CPU per warm cell")
    spent = {n: parts([*said[n], "resume=false"]) for n in (few, cells)}
    for part in sorted(spent[cells], key=lambda p: spent[few].get(p, 0.0) - spent[cells][p]):
        each = (spent[cells][part] - spent[few].get(part, 0.0)) / (cells - few)
        print(f"    {part:24s} {each:.3f}")
    used, wall, _ = timed(["run.py"], said[cells])
    print(f"    skipping {cells} done cells, the whole command: {used:.2f} s CPU, {wall:.2f} s")


def parts(arguments: list[str]) -> dict[str, float]:
    out = timed([__file__, "--inside"], arguments)[2]
    return json.loads(out.splitlines()[-1])


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        return inside(sys.argv[2:])
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=40)
    parser.add_argument("--few", type=int, default=8)
    args = parser.parse_args()
    for logger in ("none", "mlflow"):
        with tempfile.TemporaryDirectory() as folder:
            measure(args.cells, args.few, Path(folder), logger)
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
