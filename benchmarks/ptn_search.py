"""What a PTN search costs besides its forwards: this project's way over the obvious one.

    python benchmarks/ptn_search.py --parameters 36500000 --tries 100

Both are measured in one run. The net is an MLP whose forward is cheap, the importances are random
with exact zeros among them, and rho = 0 is never met, so every try is made. The obvious way is that
of Potion's published code: each try reads the importances back from pickle files, copies the
victim, takes numpy's percentile over all ratios and edits layer by layer (its unused mean,
deviation and median of each layer are left out, in its favour). It is timed on some tries, spread
over the whole path, and scaled. On these both ways must agree in cutoff, accuracy and, bit by
bit, weights.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import math
import os
import pickle
import resource
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as run.py does

import numpy as np
import torch
from torch import Tensor, nn

from antidote.core import Loader, Memo, Samples, Split, Victim, accuracy, generator
from antidote.unlearning.cutoff import Percentile
from antidote.unlearning.evidence import Weights
from antidote.unlearning.objective import norm
from antidote.unlearning.ptn import PTN
from antidote.unlearning.weight_editor import WeightEditor

Steps = Sequence[Mapping[str, float]]
INPUTS, CLASSES, KNOWN, TRAIN = 64, 10, 50, 5000


class Timed(nn.Sequential):
    """A net that adds up the seconds of all forwards, its copies' included."""

    spent: ClassVar[float] = 0.0

    def forward(self, x: Tensor) -> Tensor:
        began = time.perf_counter()
        logits = super().forward(x)
        Timed.spent += time.perf_counter() - began
        return logits


def clock() -> float:
    """Seconds that stand still during forwards."""
    return time.perf_counter() - Timed.spent


def mlp(parameters: int) -> Timed:
    """Four hidden layers of one width h, chosen for that many parameters.

    `parameters` is about 3 h^2 + (inputs + 4 + classes) h + classes.
    """
    b = INPUTS + 4 + CLASSES
    h = round((math.sqrt(b * b + 12 * (parameters - CLASSES)) - b) / 6)
    hidden = [
        m for i, o in itertools.pairwise([INPUTS, h, h, h, h]) for m in (nn.Linear(i, o), nn.ReLU())
    ]
    return Timed(*hidden, nn.Linear(h, CLASSES)).requires_grad_(False)


def importances(net: nn.Module, coin: torch.Generator) -> dict[str, Weights]:
    """Lognormal I_r and I_f / I_r, with about one weight in a thousand each of 0/0, x/0 and 0/x."""
    made: dict[str, Weights] = {"I_f": {}, "I_r": {}}
    for name, w in net.named_parameters():
        I_r = torch.empty_like(w).log_normal_(-9, 2, generator=coin)
        I_f = torch.empty_like(w).log_normal_(0, 1.5, generator=coin).mul_(I_r)
        u = torch.empty_like(w).uniform_(generator=coin)
        I_r[u < 0.002] = 0
        I_f[(u < 0.001) | ((u > 0.002) & (u < 0.003))] = 0
        made["I_f"][name], made["I_r"][name] = I_f, I_r
    return made


class Measured(Memo):
    """Importances that an earlier run has measured."""

    def __init__(self, flat: Weights) -> None:
        self.flat = flat

    def tensors(self, *asked: Any) -> tuple[Weights, float]:
        return self.flat, 0.0


def world(measured: dict[str, Weights], coin: torch.Generator) -> Split:
    """Known poison of all labels (no net is wrong about all of it) and a rest nothing reads."""
    samples = Samples(torch.randn(KNOWN, INPUTS, generator=coin), torch.arange(KNOWN) % CLASSES)
    flat = {
        f"{which}/{name}": t for which, weights in measured.items() for name, t in weights.items()
    }
    known, rest = (Loader(samples, torch.arange(n)) for n in (KNOWN, TRAIN - KNOWN))
    return Split(known, rest, Measured(flat))


def ours(net: Timed, split: Split, tries: int) -> tuple[float, Steps, Callable[[int], float]]:
    """(seconds of the search, its tries, a function of t: edits `net` as try t, gives pressure)"""
    how: dict[str, Any] = {
        "batch_size": 512,
        "denominator": "retain",
        "weighting": "batches",
        "augment": False,
    }
    editor = WeightEditor(norm, 1, Percentile(), 1.0, seed=0, **how)
    ptn = PTN(editor, 0.0, 25, 1.1, tries, None, "scan", augment=False, seed=0)
    victim = Victim(copy.deepcopy(net), lambda: net)
    began = clock()
    steps = ptn.unlearn(victim, split).steps
    seconds = clock() - began
    evidence = editor.measure(net, split)

    def edit(t: int) -> float:
        return editor.edit(net, evidence, ptn.pressure(evidence.frac, t))["pressure"]

    return seconds, steps, edit


@torch.no_grad()
def obvious(victim: nn.Module, files: dict[str, Path], frac: float) -> tuple[nn.Module, float]:
    """One try as published: (edited copy, cutoff).

    np.log because numpy rounds p to float32 if it is a plain float.
    """
    I_f, I_r = (pickle.loads(files[which].read_bytes()) for which in ("I_f", "I_r"))
    net = copy.deepcopy(victim)
    ratios = []
    for name in I_f:
        r = I_f[name] / I_r[name]
        r = r[~torch.isnan(r)]
        ratios.append(r[~torch.isinf(r)].numpy())
    alpha = np.nanpercentile(np.concatenate(ratios), 100 - np.log(1 + 100 * frac)).item()
    for name, w in net.named_parameters():
        selected = torch.where(I_f[name] > alpha * I_r[name])
        factor = (I_r[name] / I_f[name])[selected]
        factor[factor > 1] = 1
        w[selected] = w[selected] * factor
    return net, alpha


def agree(
    step: Mapping[str, float], net: nn.Module, other: nn.Module, alpha: float, known: Loader
) -> bool:
    weights = zip(net.parameters(), other.parameters(), strict=True)
    same = all(torch.equal(a.view(torch.int32), b.view(torch.int32)) for a, b in weights)
    close = math.isclose(step["cutoff"], alpha, rel_tol=1e-6)
    return same and close and step["known_poison_accuracy"] == accuracy(other, known)


def peak() -> float:
    """Gigabytes this process has held at most, so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def compare(parameters: int, tries: int, some: int) -> bool:
    """Prints both costs and their ratio; whether both ways agree."""
    coin = generator(0, "benchmark")
    net = mlp(parameters)
    measured = importances(net, coin)
    split, memory = world(measured, coin), peak()
    seconds, steps, edit = ours(net, split, tries)
    print(
        f"{sum(w.numel() for w in net.parameters()):,} parameters, "
        f"{torch.get_num_threads()} threads, {tries} tries"
    )
    print(
        f"ours     {seconds:8.2f} s without forwards; "
        f"peak memory {memory:.2f} GB before, {peak():.2f} GB after"
    )
    victim, spent, same = copy.deepcopy(net), 0.0, len(steps) == tries
    with tempfile.TemporaryDirectory() as folder:
        files = {which: Path(folder, f"{which}.pkl") for which in measured}
        for which, path in files.items():
            path.write_bytes(pickle.dumps(measured[which]))
        for t in np.linspace(0, tries - 1, some).round().astype(int):
            pressure, began = edit(t), clock()
            other, alpha = obvious(victim, files, pressure)
            spent += clock() - began
            same &= agree(steps[t], net, other, alpha, split.forget)
    print(
        f"obvious  {spent / some * tries:8.2f} s without forwards, "
        f"scaled from {some} tries of {spent / some:.2f} s"
    )
    print(f"ratio    {seconds / spent * some / tries:8.4f}   (target: below 0.015)")
    print(
        f"weights dampened: {steps[0]['dampened']:.2%} in the first try, "
        f"{steps[-1]['dampened']:.2%} in the last"
    )
    return same


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--parameters", type=int, default=36_500_000, help="of the net; default: as a WRN-28-10"
    )
    parser.add_argument("--tries", type=int, default=100)
    parser.add_argument(
        "--obvious-tries", type=int, default=10, help="how many of them the obvious way is timed on"
    )
    args = parser.parse_args()
    if not compare(args.parameters, args.tries, args.obvious_tries):
        raise SystemExit("error: the two ways differ, so their times cannot be compared")
    print("both ways agree: cutoffs to 1e-6, accuracies, and weights bit by bit")


if __name__ == "__main__":
    main()
