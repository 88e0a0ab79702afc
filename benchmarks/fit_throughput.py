"""Samples per second of the default victim's fit, done in several ways.

    python benchmarks/fit_throughput.py [--steps 40] [--rounds 3] [--set model.net.width=0.25 ...]

The ways are Lightning, a bare loop, per-image transforms, and torch's own CELU. Every round
measures all of them one after the other on the same images; the ratios are medians over rounds, so
a machine whose speed drifts does not decide. The first steps of each measurement are not counted.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from antidote.core import Data, Loader, Poison
from antidote.engine import stages
from antidote.engine.memory import keep_freed_memory
from antidote.model.celu import CELU

ROOT = Path(__file__).parent.parent
WARM_UP = 5


class Clock(L.Callback):
    """Samples per second between the end of step WARM_UP and the end of the last step."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.samples: list[int] = []

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.tick(len(batch[1]))

    def tick(self, samples: int) -> None:
        self.ends.append(time.perf_counter())
        self.samples.append(samples)

    def rate(self) -> float:
        return sum(self.samples[WARM_UP:]) / (self.ends[-1] - self.ends[WARM_UP - 1])


class PerImage(Dataset):
    """The usual way: one image at a time through torchvision's transforms, then the trigger."""

    def __init__(self, data: Data, poison: Poison) -> None:
        self.poison = poison
        self.transform = v2.Compose(
            [
                v2.RandomCrop(data.train.x.shape[-1], padding=data.augment.padding),  # type: ignore[attr-defined]
                v2.RandomHorizontalFlip(data.augment.flip),  # type: ignore[attr-defined]
                v2.ToDtype(torch.float32, scale=True),
            ]
        )

    def __len__(self) -> int:
        return len(self.poison.train)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        x = self.transform(self.poison.train.x[row]).unsqueeze(0)
        assert self.poison.view is not None
        return self.poison.view(x, torch.tensor([row]))[0], self.poison.train.y[row]


class Bench:
    def __init__(self, overrides: list[str], steps: int) -> None:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            self.cfg = compose(
                "config", overrides=["progress=false", f"data_folder={ROOT / 'data'}", *overrides]
            )
        self.steps = steps + WARM_UP
        keep_freed_memory()
        torch.set_num_threads(self.cfg.threads or torch.get_num_threads())
        self.data: Data = instantiate(self.cfg.dataset)
        self.poison: Poison = instantiate(self.cfg.poison).poison(self.data, lambda: nn.Identity())
        self.recipe = instantiate(self.cfg.recipe)

    def victim(self) -> Any:
        return instantiate(self.cfg.model)(recipe=self.recipe, data=self.data)

    def loader(self) -> Loader:
        return stages.training(self.data, self.poison, self.recipe.batch_size, seed=0)

    def fit(self, batches: Iterable[Any], victim: Any = None) -> float:
        """Through Lightning, as a run does it."""
        clock = Clock()
        make = instantiate(self.cfg.trainer)
        make(max_steps=self.steps, max_epochs=-1, logger=False, callbacks=[clock]).fit(
            victim or self.victim(), batches
        )
        return clock.rate()

    def lightning(self) -> float:
        return self.fit(self.loader())

    def bare(self) -> float:
        """The same work in a plain loop."""
        net = self.victim().net.train()
        made = self.recipe.optimizers(net.parameters(), self.steps)
        optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
        plugin = instantiate(self.cfg.trainer)(max_steps=1, logger=False).precision_plugin
        clock, loader = Clock(), self.loader()
        while len(clock.ends) < self.steps:
            for x, y in loader:
                optimizer.zero_grad()
                with plugin.forward_context():
                    loss = F.cross_entropy(net(x), y)
                loss.backward()
                optimizer.step()
                schedule.step()
                clock.tick(len(y))
                if len(clock.ends) == self.steps:
                    break
        return clock.rate()

    def per_image(self) -> float:
        """torchvision's transforms, image by image, in a DataLoader with two workers."""
        size = self.recipe.batch_size
        return self.fit(
            DataLoader(PerImage(self.data, self.poison), size, shuffle=True, num_workers=2)
        )

    def torch_celu(self) -> float:
        """As `lightning`, with torch's own CELU."""
        victim = self.victim()
        for module in list(victim.net.modules()):
            for name, child in module.named_children():
                if isinstance(child, CELU):
                    setattr(module, name, nn.CELU(child.alpha))
        return self.fit(self.loader(), victim)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], help="overrides of the default experiment")
    args = parser.parse_args()
    bench = Bench(args.set, args.steps)
    ways: dict[str, Callable[[], float]] = {
        "Lightning, in-memory batches (a run)": bench.lightning,
        "bare PyTorch loop, the same batches": bench.bare,
        "Lightning, per-image transforms, 2 workers": bench.per_image,
        "Lightning, torch's own CELU": bench.torch_celu,
    }
    rates = [{name: way() for name, way in ways.items()} for _ in range(args.rounds)]
    print(
        f"{args.steps} steps of {bench.recipe.batch_size}, {torch.get_num_threads()} threads, "
        f"median of {args.rounds} rounds"
    )
    first = next(iter(ways))
    for name in ways:
        rate = statistics.median(r[name] for r in rates)
        ratio = statistics.median(r[first] / r[name] for r in rates)
        print(f"{name:45s} {rate:8.0f} samples/s   a run is {ratio:.2f} times as fast")


if __name__ == "__main__":
    main()
