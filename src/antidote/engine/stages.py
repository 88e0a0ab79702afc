"""What a cell does to the data and the net: the code that every fingerprint holds.

It knows neither settings nor store, and writes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from antidote.core import (
    Data,
    Loader,
    Memo,
    Method,
    Poison,
    Probe,
    Split,
    derive,
    everything,
    require,
)

Discover = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def discover(discovery: Discover, poison: Poison, method: Method) -> tuple[Tensor, Tensor]:
    """(known, unknown) rows of the poison; raises `BadInput` where nothing can be done with them.

    What somebody names need not be poison.
    """
    rows, n = poison.indices, len(poison.train)
    known, unknown = discovery(rows, poison.train.y[rows] != poison.truth[rows])
    require(
        len(known) == 0 or int(known.max()) < n,
        f"discovery names sample {known.max() if len(known) else 0} "
        f"but the ids go from 0 to {n - 1}",
    )
    require(
        len(known) < n,
        f"all {n} training samples are known poison; nothing would be retained",
    )
    require(
        len(known) > 0 or not method.needs_known,
        "the forget set is empty: there is no known poison to unlearn; "
        "use unlearning=none with poison=none, or name suspicious samples with discovery=ids "
        "discovery.ids=[3,17]",
    )
    return known, unknown


def split(
    data: Data, poison: Poison, known: Tensor, batch_size: int, origin: str, memo: Memo
) -> Split:
    """Known poison and the rest, with poisoned labels and trigger, as training saw them.

    `origin`: the fingerprint of all that determines the two.
    """
    rest = torch.ones(len(poison.train), dtype=torch.bool, device=known.device)
    rest[known] = False

    def loader(rows: Tensor, part: str) -> Loader:
        how: dict[str, Any] = {"augment": data.augment, "view": poison.view}
        return Loader(poison.train, rows, batch_size, **how, origin=part_of(origin, part))

    return Split(loader(known, "forget"), loader(rest.nonzero().squeeze(1), "retain"), memo)


def part_of(origin: str, part: str) -> str:
    return f"{origin}/{part}"


def training(data: Data, poison: Poison, batch_size: int, seed: int) -> Loader:
    """What the victim is fitted on."""
    how: dict[str, Any] = {"augment": data.augment, "view": poison.view, "join": True}
    seed = derive(seed, "fit")
    return everything(poison.train, batch_size=batch_size, shuffle=True, seed=seed, **how)


def fit(
    make_trainer: Callable[..., L.Trainer],
    victim: L.LightningModule,
    loader: Loader,
    callbacks: list[L.Callback],
    steps: int,
    seed: int,
) -> None:
    """Lightning's fit; with no steps it goes straight to the callbacks' on_fit_end.

    What a net draws while it is fitted (dropout) has a seed of its own.
    """
    epochs = math.ceil(steps / len(loader))
    trainer = make_trainer(max_steps=steps, max_epochs=epochs, callbacks=callbacks, logger=False)
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "fit draws"))
        trainer.fit(victim, loader)


def measure(net: nn.Module, probes: Mapping[str, Probe]) -> dict[str, float]:
    """All probes of a net, as flat names: {"test/accuracy": 0.92, ...}."""
    return {
        f"{name}/{metric}": value
        for name, probe in probes.items()
        for metric, value in probe.measure(net, probe.loader).items()
    }


def hardware(trainer: L.Trainer) -> dict[str, Any]:
    """What a result's bits depend on besides code, data and settings."""
    device, precision = trainer.strategy.root_device, str(trainer.precision)
    if device.type == "cuda":
        return {"device": torch.cuda.get_device_name(device), "precision": precision}
    return {
        "device": f"{device.type} {torch.backends.cpu.get_cpu_capability()}",
        "precision": precision,
        "threads": torch.get_num_threads(),
    }
