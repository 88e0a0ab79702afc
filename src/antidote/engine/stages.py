"""What a cell does to the data and the net: the code that every fingerprint holds.

It knows neither settings nor store, and writes nothing.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from antidote.core import (
    BadInput,
    Data,
    Loader,
    Memo,
    Method,
    Poison,
    Probe,
    Split,
    Traced,
    Tracer,
    Victim,
    derive,
    everything,
    require,
)

log = logging.getLogger(__name__)
Discover = Callable[[Tensor, Tensor, Data], tuple[Tensor, Tensor]]


def discover(
    discovery: Discover, data: Data, poison: Poison, tracer: Tracer, method: Method
) -> tuple[Tensor, Tensor]:
    """(known, unknown) rows of the poison; raises `BadInput` where nothing can be done with them.

    What somebody names need not be poison.
    """
    n = len(poison.train)
    rows = poison.indices if poison.discoverable is None else poison.discoverable
    known, _ = discovery(rows, poison.train.y[rows] != poison.truth[rows], data)
    unknown = poison.indices[~torch.isin(poison.indices, known)]
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
        len(known) > 0 or not (method.needs_known and tracer.needs_known),
        "the forget set is empty: there is no known poison to unlearn; "
        "use unlearning=none with poison=none, or name suspicious samples with discovery=ids "
        "discovery.ids=[3,17] or discovery=files discovery.file=suspects.txt",
    )
    return known, unknown


def unmet(method: Method, poison: Poison, known: Tensor) -> str:
    """What the method assumes of the known poison and does not find; nothing of it reaches it.

    Of data that came poisoned nobody here knows the true labels.
    """
    if not len(poison.indices):
        return ""
    labels_true = poison.train.y[known] == poison.truth[known]
    if not (method.assumes_wrong_labels and len(known) and bool(labels_true.all())):
        return ""
    log.warning(
        "%s is made for known poison with wrong labels, but all %d known samples bear their true "
        "ones: it will unlearn right answers",
        type(method).__name__,
        len(known),
    )
    return "wrong labels on the known poison"


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


def trace(tracer: Tracer, victim: Victim, split: Split) -> tuple[Traced, float]:
    """(what the tracer finds, or found before; seconds that were spared)."""
    device = split.retain.rows.device
    if tracer.needs_known and split.forget.count == 0:
        nothing = torch.empty(0, dtype=torch.int64, device=device)
        return Traced(nothing, torch.full((split.retain.count,), math.nan)), 0.0

    def compute() -> dict[str, Tensor]:
        with victim.meter.aside() as seen:
            traced = tracer.trace(victim, split)
        evidence = {f"evidence/{name}": double(v) for name, v in traced.evidence.items()}
        cost = {"sample_gradients": traced.sample_gradients, "forwards": seen.forwards}
        costs = {name: torch.tensor(count) for name, count in cost.items()}
        rows = traced.rows.sort().values
        return {"rows": rows, "scores": traced.scores, **costs, **evidence}

    work = next(iter(tracer.work()), None)
    loaders = [split.forget, split.retain]
    # what costs nothing is not kept
    found, saved = (
        split.memo.tensors(work, victim.net, loaders, compute) if work else (compute(), 0.0)
    )
    told = {n.removeprefix("evidence/"): t.item() for n, t in found.items() if "/" in n}
    costs = {name: int(found[name]) for name in ("sample_gradients", "forwards")}
    return Traced(found["rows"].to(device), found["scores"], told, **costs), saved


def double(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def extended(split: Split, rows: Tensor, origin: str) -> Split:
    """`rows` go from the retained to the known; `origin`: the fingerprint of what decided it."""
    left = split.retain.rows[~torch.isin(split.retain.rows, rows)]
    require(len(left) > 0, f"all {len(rows)} other samples were traced; nothing would be retained")
    known = torch.cat([split.forget.rows, rows]).sort().values
    forget = split.forget.with_(rows=known, origin=part_of(origin, "forget"))
    retain = split.retain.with_(rows=left, origin=part_of(origin, "retain"))
    return Split(forget, retain, split.memo)


def part_of(origin: str, part: str) -> str:
    return f"{origin}/{part}"


def training(data: Data, poison: Poison, batch_size: int, seed: int) -> Loader:
    """What the victim is fitted on."""
    how: dict[str, Any] = {"augment": data.augment, "view": poison.view, "join": True}
    seed = derive(seed, "fit")
    return everything(poison.train, batch_size=batch_size, shuffle=True, seed=seed, **how)


def unpoisoned(loader: Loader, poison: Poison) -> Loader:
    """That loader without any of the poison."""
    return loader.with_(rows=loader.rows[~torch.isin(loader.rows, poison.indices)])


def fit(
    make_trainer: Callable[..., L.Trainer],
    victim: L.LightningModule,
    loader: Loader,
    callbacks: list[L.Callback],
    steps: int,
    seed: int,
) -> L.Trainer:
    """Lightning's fit; with no steps it goes straight to the callbacks' on_fit_end.

    What a net draws while it is fitted (dropout) has a seed of its own.
    """
    check_lone(victim, loader, steps)
    epochs = math.ceil(steps / len(loader))
    trainer = make_trainer(max_steps=steps, max_epochs=epochs, callbacks=callbacks, logger=False)
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "fit draws"))
        trainer.fit(victim, loader)
    return trainer


def check_lone(victim: Any, loader: Loader, steps: int) -> None:
    """Raises `BadInput` where a net cannot be trained on one sample at a time, and has to be.

    A last batch of one is none: it is joined to the one before.
    """
    if not steps or min(loader.batch_size, loader.count) > 1:
        return
    x, _ = next(iter(loader.with_(rows=loader.rows[:1])))
    try:
        with torch.random.fork_rng(), torch.no_grad():
            copy.deepcopy(victim.net).train()(x.to(next(victim.net.parameters()).device))
    except ValueError as error:
        raise BadInput(
            f"recipe.batch_size={loader.batch_size} of {loader.count} training samples is a batch "
            f"of one, which {type(victim.net).__name__} cannot be trained on ({error}); "
            "give at least 2"
        ) from error


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
