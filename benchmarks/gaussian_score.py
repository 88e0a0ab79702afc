"""What the Gaussian Unlearning Score costs, as a share of one epoch of the victim's fit.

    python benchmarks/gaussian_score.py [--rounds 3] [--set poison_rate=2_5pct ...]

Every round fits one epoch, then scores the same poison by one backward per batch, then, for the
plain alternative, by a loop over its rows; the shares are medians over rounds. No attack is
learned: what is timed does not depend on it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from antidote.core import Surrogate
from antidote.engine import stages
from antidote.engine.memory import keep_freed_memory

ROOT = Path(__file__).parent.parent
SET = [
    "experiment=fails_gaussian_small",
    "poison_rate=2_5pct",
    "recipe.schedule.max_lr=0.01",
    "threads=1",
    "progress=false",
]


def seconds(work: Callable[..., Any], *arguments: Any) -> float:
    began = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - began


def no_surrogate() -> Any:
    raise AssertionError("noise needs no clean net")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[])
    asked = parser.parse_args()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", [*SET, f"data_folder={ROOT / 'data'}", *asked.set])
    keep_freed_memory()
    torch.set_num_threads(cfg.threads)
    data = instantiate(cfg.dataset)
    poison = instantiate(cfg.poison).poison(data, Surrogate(no_surrogate))
    recipe, make_trainer = instantiate(cfg.recipe), instantiate(cfg.trainer)
    module = instantiate(cfg.model)(recipe=recipe, data=data)
    loader = stages.training(data, poison, recipe.batch_size, 0)
    fit: Any = (make_trainer, module, loader, [], len(loader), 0)
    shares: dict[str, list[float]] = {"one backward per batch": [], "a loop over the rows": []}
    for _ in range(asked.rounds):
        epoch = seconds(stages.fit, *fit)
        probe, net = poison.probes["gus"], module.net.eval()
        ways = probe.loader, probe.loader.with_(batch_size=1)
        for values, way in zip(shares.values(), ways, strict=True):
            values.append(seconds(probe.measure, net, way) / epoch)
    rows = len(poison.indices)
    print(f"{rows} poisoned rows, {len(data.train)} training rows, {type(module.net).__name__}")
    for name, values in shares.items():
        print(f"score by {name}: {statistics.median(values):.4f} of an epoch")


if __name__ == "__main__":
    main()
