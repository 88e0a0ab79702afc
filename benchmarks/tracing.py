"""What tracing=features costs beside one plain forward over the same rows, in time and memory.

    python benchmarks/tracing.py --rows 1000000 --patch 255

Dark grey images of 8x8 bytes, noise, with 10 labels; a net of 9 convolutions and a linear layer
with random weights, so that eight layers and the image itself are looked at. One in a hundred rows
bears a patch and label 0; one in a hundred of those is known. A patch of brightness 64 is as good
as none: the dearest case, in which everything is tried and nothing found. Each way has a process of
its own: a forward, a tracing with all features in memory, and one with the features of layers
mapped from a file. The peak is of resident memory (VmHWM), above what was resident when data and
net had been made; of it, `held` is what the system cannot take back (RssAnon, looked at every 10
ms): pages of a mapped file it can. The ratio is of CPU seconds. Linux only.
"""

from __future__ import annotations

import argparse
import functools
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as run.py does

import torch
from torch import Tensor, nn

import antidote.tracing.features as tracing
from antidote.core import Loader, Samples, Split, Traced, Victim, answers, generator
from antidote.engine.memory import keep_freed_memory

LABELS, CHANNELS, DEPTH = 10, 8, 9
RATE, KNOWN = 100, 100  # one in so many rows is poison; one in so many of those is known
WAYS = {"forward": None, "trace, in memory": 2**40, "trace, mapped": 0}


def resident(which: str) -> int:
    """Bytes of this process: VmRSS and RssAnon now, VmHWM at most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(which))


def net() -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(1, CHANNELS, 3, stride=2, padding=1), nn.ReLU()]
    for _ in range(DEPTH - 1):
        layers += [nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.ReLU()]
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, *pool, nn.Linear(CHANNELS, LABELS)).eval()


def world(n: int, patch: int) -> tuple[Split, Tensor]:
    """(split, hidden poison)"""
    coin = generator(0, "benchmark")
    x = torch.randint(128, (n, 1, 8, 8), generator=coin, dtype=torch.uint8)
    y = torch.arange(n) % LABELS
    poison = torch.randperm(n, generator=coin)[: n // RATE]
    x[poison, :, -3:, -3:], y[poison] = patch, 0
    known = poison[: max(1, len(poison) // KNOWN)].sort().values
    rest = torch.ones(n, dtype=torch.bool)
    rest[known] = False
    samples, batch = Samples(x, y), 2048
    forget, retain = (Loader(samples, rows, batch) for rows in (known, rest.nonzero().squeeze(1)))
    return Split(forget, retain), poison[len(known) :]


def held_at_most(work: Callable[[], Traced | None]) -> tuple[Traced | None, int]:
    """(what `work` gives, the peak of RssAnon meanwhile)"""
    peak, done = resident("RssAnon"), threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.01):
            peak = max(peak, resident("RssAnon"))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        return work(), peak
    finally:
        done.set()
        thread.join()


def measured(n: int, patch: int, way: str, threads: int) -> dict[str, float]:
    """Seconds, gigabytes, and for a tracing recall and precision."""
    keep_freed_memory()  # as run.py does
    torch.set_num_threads(threads)
    (split, hidden), model = world(n, patch), net()
    everything = split.retain.with_(rows=torch.cat([split.retain.rows, split.forget.rows]))
    in_memory = WAYS[way]

    def work() -> Traced | None:
        if in_memory is None:
            answers(model, everything)
            return None
        tracing.features = functools.partial(tracing.features, in_memory=in_memory)
        tracer = tracing.Features(distance=8.0, other_labels=True, unknown=True, layer=None, seed=0)
        return tracer.trace(Victim(model, net), split)

    before, anonymous, began = resident("VmRSS"), resident("RssAnon"), time.perf_counter()
    cpu = time.process_time()
    traced, held = held_at_most(work)
    told = {
        "wall": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "peak": (resident("VmHWM") - before) / 1e9,
        "held": (held - anonymous) / 1e9,
    }
    if traced is not None:
        right = torch.isin(traced.rows, hidden).sum().item()
        told["recall"], told["precision"] = right / len(hidden), right / max(1, len(traced.rows))
    return told


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--patch", type=int, default=255, help="its brightness; images reach 127")
    args = parser.parse_args()
    print(f"{args.rows:,} rows, {args.threads} threads; GB above data and net")
    heads = f"{'wall s':>8}{'cpu s':>8}{'ratio':>7}{'peak GB':>9}{'held GB':>9}"
    print(f"{'':18}{heads}{'recall':>11}{'precision':>11}")
    plain = None
    for way in WAYS:
        # a fresh process: a peak is for good
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as one:
            told = one.submit(measured, args.rows, args.patch, way, args.threads).result()
        plain = plain or told["cpu"]
        found = "".join(f"{told[k]:11.1%}" for k in ("recall", "precision") if k in told)
        print(
            f"{way:18}{told['wall']:8.1f}{told['cpu']:8.1f}{told['cpu'] / plain:7.1f}"
            f"{told['peak']:9.2f}{told['held']:9.2f}{found}",
            flush=True,
        )


if __name__ == "__main__":
    main()
