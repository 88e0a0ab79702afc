"""What a PTN search costs besides its forwards: this project's way over the obvious one, measured in one run.

    python benchmarks/ptn_search.py --parameters 36500000 --tries 100

The net is an MLP whose forward is cheap, the importances are random with exact zeros among them, and rho = 0 is never
met, so that every try is made. The obvious way is Potion's published code, told in docs/methods.md: each try reads the
importances back from pickle files, copies the victim, takes numpy's percentile over all ratios and edits layer by
layer. (Its unused per-layer mean, deviation and median are left out, in its favour.) It is timed on some of the tries,
spread over the whole path, and scaled. On these both ways must agree: cutoff, every weight's bits, and accuracy.
"""

from __future__ import annotations

import argparse
import copy
import math
import pickle
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from antidote.core import Loader, Samples, Split, accuracy, generator
from antidote.unlearning.cutoff import Percentile
from antidote.unlearning.evidence import Evidence
from antidote.unlearning.objective import norm
from antidote.unlearning.ptn import PTN
from antidote.unlearning.weight_editor import WeightEditor

INPUTS, CLASSES, KNOWN, TRAIN = 64, 10, 50, 5000


class Timed(nn.Sequential):
    """A net that adds up the seconds of all forwards, its copies' included."""

    spent: ClassVar[float] = 0.0

    def forward(self, x: Tensor) -> Tensor:
        began = time.perf_counter()
        logits = super().forward(x)
        Timed.spent += time.perf_counter() - began
        return logits


class Stopwatch:
    """`with Stopwatch() as watch`: the block's wall seconds without those of the forwards, in `watch.seconds`."""

    def __enter__(self) -> Stopwatch:
        self.began, self.forwards = time.perf_counter(), Timed.spent
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds = time.perf_counter() - self.began - (Timed.spent - self.forwards)


class Keeps(WeightEditor):
    """A weight editor that lets the comparison see its evidence."""

    evidence: Evidence

    def measure(self, net: nn.Module, split: Split) -> Evidence:
        self.evidence = super().measure(net, split)
        return self.evidence


def mlp(parameters: int) -> Timed:
    """Four hidden layers, as wide as the number of parameters asks for: 3 h^2 + (inputs + 4 + classes) h + classes."""
    b = INPUTS + 4 + CLASSES
    h = round((math.sqrt(b * b + 12 * (parameters - CLASSES)) - b) / 6)
    widths = [INPUTS, h, h, h, h]
    hidden = [m for i, o in zip(widths, widths[1:], strict=False) for m in (nn.Linear(i, o), nn.ReLU())]
    return Timed(*hidden, nn.Linear(h, CLASSES)).requires_grad_(False)


def importances(net: nn.Module, coin: torch.Generator) -> dict[str, Tensor]:
    """Lognormal I_r and I_f / I_r, with about one weight in a thousand each of 0/0, x/0 and 0/x."""
    made = {}
    for name, w in net.named_parameters():
        I_r = torch.empty_like(w).log_normal_(-9, 2, generator=coin)
        I_f = torch.empty_like(w).log_normal_(0, 1.5, generator=coin).mul_(I_r)
        u = torch.empty_like(w).uniform_(generator=coin)
        I_r[u < 0.002] = 0
        I_f[(u < 0.001) | ((u > 0.002) & (u < 0.003))] = 0
        made |= {f"I_f/{name}": I_f, f"I_r/{name}": I_r}
    return made


def world(tensors: dict[str, Tensor], coin: torch.Generator) -> Split:
    """Known poison of all labels, so that no net is wrong about all of it, and a rest that nothing reads."""
    samples = Samples(torch.randn(KNOWN, INPUTS, generator=coin), torch.arange(KNOWN) % CLASSES)
    known, rest = Loader(samples, torch.arange(KNOWN)), Loader(samples, torch.arange(TRAIN - KNOWN))
    return Split(known, rest, lambda parts, work: (tensors, 0.0))


@torch.no_grad()
def obvious_try(victim: nn.Module, files: dict[str, Path], frac: float) -> tuple[nn.Module, float]:
    """One try as published; (edited copy, cutoff). `np.log` and not `math.log`: numpy rounds a plain float p to float32."""
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


def save(tensors: dict[str, Tensor], folder: Path) -> dict[str, Path]:
    files = {which: folder / f"{which}.pkl" for which in ("I_f", "I_r")}
    for which, path in files.items():
        mine = {key.removeprefix(f"{which}/"): t for key, t in tensors.items() if key.startswith(which)}
        path.write_bytes(pickle.dumps(mine))
    return files


@dataclass
class Search:
    """A search by PTN and all that is needed to go back to one of its tries."""

    net: nn.Module
    editor: Keeps
    ptn: PTN
    known: Loader
    steps: list[dict[str, float]]
    seconds: float

    def pressure(self, t: int) -> float:
        return self.ptn.pressure(self.editor.evidence.frac, t)

    def agrees(self, t: int, net: nn.Module, alpha: float) -> bool:
        """Whether try t had this cutoff, the accuracy of this net and, bit by bit, its weights."""
        step = self.steps[t]
        self.editor.edit(self.net, self.editor.evidence, self.pressure(t))
        pairs = zip(self.net.parameters(), net.parameters(), strict=True)
        same = all(torch.equal(a.view(torch.int32), b.view(torch.int32)) for a, b in pairs)
        close = math.isclose(step["cutoff"], alpha, rel_tol=1e-6)
        return same and close and step["known_poison_accuracy"] == accuracy(net, self.known)


def ours(net: Timed, split: Split, tries: int) -> Search:
    how: dict[str, Any] = {"batch_size": 512, "denominator": "retain", "weighting": "batches", "augment": False}
    editor = Keeps(norm, 1, Percentile(), 1.0, seed=0, **how)
    ptn = PTN(editor, 0.0, 25, 1.1, tries, None, "scan", augment=False, seed=0)
    victim: Any = SimpleNamespace(net=net)
    with Stopwatch() as watch:
        report = ptn.unlearn(victim, split)
    return Search(net, editor, ptn, split.forget, report.steps, watch.seconds)


def obvious(victim: Timed, tensors: dict[str, Tensor], search: Search, tries: list[int]) -> tuple[float, bool]:
    """(seconds per try without forwards, whether every one of `tries` agrees with the search)"""
    seconds, same = 0.0, True
    with tempfile.TemporaryDirectory() as folder:
        files = save(tensors, Path(folder))
        for t in tries:
            with Stopwatch() as watch:
                net, alpha = obvious_try(victim, files, search.pressure(t))
                accuracy(net, search.known)
            seconds += watch.seconds
            same &= search.agrees(t, net, alpha)
    return seconds / len(tries), same


def peak() -> float:
    """Gigabytes this process has held at most, so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", type=int, default=36_500_000, help="of the net; default: a WRN-28-10's")
    parser.add_argument("--tries", type=int, default=100)
    parser.add_argument("--obvious-tries", type=int, default=10, help="how many of them are timed the obvious way")
    args = parser.parse_args()
    coin = generator(0, "benchmark")
    net = mlp(args.parameters)
    victim, tensors = copy.deepcopy(net), importances(net, coin)
    split = world(tensors, coin)
    before = peak()
    search = ours(net, split, args.tries)
    after = peak()
    chosen = sorted({round(t) for t in np.linspace(0, args.tries - 1, args.obvious_tries)})
    per_try, same = obvious(victim, tensors, search, chosen)
    count = sum(w.numel() for w in net.parameters())
    print(f"{count:,} parameters, {len(search.steps)} tries, {torch.get_num_threads()} threads; forwards not counted")
    print(f"ours      {search.seconds:8.2f} s for the whole search; peak memory {before:.2f} GB before, {after:.2f} GB after")
    print(f"obvious   {per_try * args.tries:8.2f} s = {args.tries} x {per_try:.2f} s, from {len(chosen)} tries")
    print(f"RATIO     {search.seconds / (per_try * args.tries):8.4f} ours / obvious (target: below 0.1)")
    shares = [search.steps[t]["dampened"] for t in (0, -1)]
    print(f"weights dampened: {100 * shares[0]:.3f} % in the first try, {100 * shares[1]:.1f} % in the last")
    print(f"cutoffs to 1e-6, weights bit by bit and accuracies are the same on those tries: {'yes' if same else 'NO'}")
    if not same or len(search.steps) != args.tries:
        raise SystemExit("error: the two ways differ, so their times cannot be compared")


if __name__ == "__main__":
    main()
