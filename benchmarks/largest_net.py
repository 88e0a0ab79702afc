"""How much memory the largest net's weight edit takes above the net itself.

    python benchmarks/largest_net.py --batch-size 4

A WideResNet-28-10 of 100 classes (36,547,940 parameters) with random weights goes through XLF's
measurement, the PTN search and the edit, on random images and as run.py does it: importances go
through the store on disk. A second search then finds them there. rho = 0 is never met, so every
try is made. The peak is the kernel's own count of resident memory (VmHWM; Linux only), above what
was resident when net and images had been made. Activations depend on the batch and not on the
method; they are counted apart, so that the batch can be small.
"""

from __future__ import annotations

import argparse
import copy
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as run.py does

import torch
from torch import Tensor, nn

from antidote.core import Loader, Samples, Split, Victim, generator
from antidote.engine.memo import Remembered
from antidote.engine.memory import keep_freed_memory
from antidote.engine.store import Store
from antidote.model.wide_resnet import WideResNet
from antidote.unlearning.cutoff import Percentile
from antidote.unlearning.objective import norm
from antidote.unlearning.ptn import PTN
from antidote.unlearning.weight_editor import WeightEditor

CLASSES, LIMIT = 100, 2e9  # bytes above the net


def resident(which: str) -> int:
    """Bytes of this process in memory: VmRSS now, VmHWM at most so far.

    Not getrusage's ru_maxrss, in which the process that started this one is counted too.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(which))


def world(batch_size: int, store: Store) -> Split:
    """One batch of known poison and two of the rest, random images of 3x32x32."""
    coin = generator(0, "images")
    x = torch.randint(256, (3 * batch_size, 3, 32, 32), generator=coin, dtype=torch.uint8)
    samples = Samples(x, torch.arange(len(x)) % CLASSES)
    known, rest = torch.arange(len(x)).split([batch_size, 2 * batch_size])
    memo = Remembered(store, "this benchmark")
    return Split(Loader(samples, known, batch_size), Loader(samples, rest, batch_size), memo)


def activations(net: nn.Module, loader: Loader) -> int:
    """Bytes that a forward keeps for its backward, the weights left out."""
    kept = {w.untyped_storage().data_ptr(): 0 for w in net.parameters()}

    def keep(t: Tensor) -> Tensor:
        kept.setdefault(t.untyped_storage().data_ptr(), t.untyped_storage().nbytes())
        return t

    x, _ = next(iter(loader))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        loss = net.eval()(x).norm()
    del loss
    return sum(kept.values())


def ptn(batch_size: int, tries: int) -> PTN:
    how: dict[str, Any] = {"denominator": "retain", "weighting": "batches", "augment": False}
    editor = WeightEditor(norm, 1, Percentile(), 1.0, batch_size, seed=0, **how)
    return PTN(editor, 0.0, 25, 1.1, tries, None, "scan", augment=False, seed=0)


def peak(batch_size: int, tries: int) -> int:
    """Prints and returns the bytes above the net."""
    keep_freed_memory()
    mean = torch.full((3,), 0.5)
    torch.manual_seed(0)
    net = WideResNet(CLASSES, mean, mean, depth=28, widen=10).to(memory_format=torch.channels_last)
    print(f"{sum(w.numel() for w in net.parameters()):,} parameters")
    with tempfile.TemporaryDirectory() as folder:
        victim = copy.deepcopy(net.state_dict())
        split, before = world(batch_size, Store(folder)), resident("VmRSS")
        for source in ("measured", "remembered"):
            net.load_state_dict(victim)  # what is remembered belongs to the weights measured
            made = ptn(batch_size, tries).unlearn(Victim(net, lambda: net), split)
            assert len(made.steps) == tries
            assert (made.saved > 0) == (source == "remembered")
            so_far = (resident("VmHWM") - before) / 1e9
            print(f"importances {source}, searched and edited: {so_far:.2f} GB at most")
    above = resident("VmHWM") - before
    kept = activations(net, split.forget) / 1e9
    print(f"activations kept for a backward: {kept:.2f} GB ({batch_size} images)")
    print(f"above the net, activations included: {above:,} bytes (limit: {LIMIT:,.0f})")
    return above


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--tries", type=int, default=12)
    args = parser.parse_args()
    if peak(args.batch_size, args.tries) >= LIMIT:
        raise SystemExit(f"error: more than {LIMIT / 1e9:.0f} GB above the net")


if __name__ == "__main__":
    main()
