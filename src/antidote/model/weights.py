"""Weights from a file, whoever wrote it, under the names of a net of ours."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from antidote.core import require
from antidote.model.normalize import Normalize
from antidote.model.weight_files import At, Weights, fit, nested, opened

log = logging.getLogger(__name__)
# where training code keeps the weights, in the order of preference
KEYS = ("state_dict", "model_state_dict", "model", "net", "module", "weights")
TOLD = 3  # tensors that differ


def weights(path: Path, net: nn.Module) -> Weights:
    """What `net.load_state_dict` takes, from .safetensors, or a state dict that torch has saved.

    That may lie inside a checkpoint, and its names may all have a prefix; normalisation that it
    lacks is the net's own. Raises `BadInput` for weights of another net, and for numbers that are
    not finite or no floating-point ones.
    """
    wanted, ours = net.state_dict(), own(net)
    extra = [*ours, *counters(wanted)]
    found, where = chosen(path, [name for name in wanted if name not in extra])
    if any(name not in found for name in ours):
        log.info("victim=%s has no normalisation: mean and deviation are those of the data", path)
    found |= {name: wanted[name] for name in extra if name not in found}
    check_names(path, net, wanted, found)
    for name, w in found.items():
        check_numbers(path, name, w, wanted[name])
    kinds = {str(w.dtype).removeprefix("torch.") for w in found.values() if w.is_floating_point()}
    log.info("victim=%s: %d tensors%s, of %s", path, len(found), where, " and ".join(sorted(kinds)))
    return found


def own(net: nn.Module) -> list[str]:
    """Names of the normalisation that is part of a net of ours."""
    inside = [name for name, module in net.named_modules() if isinstance(module, Normalize)]
    return [f"{name}.{part}" for name in inside for part in ("mean", "std")]


def counters(names: Iterable[str]) -> list[str]:
    """Batch norm's counts of batches, which older files lack and no answer depends on."""
    return [name for name in names if name.endswith(".num_batches_tracked")]


def chosen(path: Path, wanted: list[str]) -> tuple[Weights, str]:
    """(the tensors in a file that fit best, under our names; where they lie, in words)."""
    sets = dict(nested(opened(path)))
    require(bool(sets), f"victim={path} holds no tensors; save net.state_dict()")
    fits = {at: fit(held, wanted) for at, held in sets.items()}
    most = max(hits for hits, _, _ in fits.values())
    best = sorted((at for at in fits if fits[at][0] == most), key=usual)
    require(
        not most or len(best) == 1 or usual(best[0]) < usual(best[1]),
        f"victim={path} holds several sets of weights that fit: "
        f"{', '.join('.'.join(at) for at in best)}; save the one that is meant by itself",
    )
    at = best[0]
    _, theirs, ours = fits[at]
    where = f" under {'.'.join(at)}" if at else ""
    where += f", their prefix {theirs} left out" if theirs else ""
    return {renamed(n, theirs, ours): w for n, w in sets[at].items()}, where


def usual(at: At) -> list[int]:
    """Where training code keeps the weights, the likeliest first."""
    return [KEYS.index(key) if key in KEYS else len(KEYS) for key in at]


def renamed(name: str, theirs: str, ours: str) -> str:
    return ours + name.removeprefix(theirs) if name.startswith(theirs) else name


def check_names(path: Path, net: nn.Module, wanted: Weights, found: Weights) -> None:
    def told(name: str) -> str:
        theirs, ours = (tuple(d[name].shape) if name in d else "absent" for d in (found, wanted))
        return f"{name} ({theirs} in the file, {ours} here)"

    differ = [
        name
        for name in {**wanted, **found}
        if name not in wanted or name not in found or wanted[name].shape != found[name].shape
    ]
    foreign = [name for name in differ if name not in wanted]
    shown = [*dict.fromkeys([*differ[: TOLD - 1], *foreign[:1], *differ])][:TOLD]
    require(
        not differ,
        f"victim={path} is of another net than {type(net).__name__} as configured: tensors that "
        f"differ: {len(differ)}, first {', '.join(map(told, shown))}; mend model.* or dataset",
    )


def check_numbers(path: Path, name: str, w: Tensor, ours: Tensor) -> None:
    if not ours.is_floating_point():
        return
    kind = str(w.dtype).removeprefix("torch.")
    require(
        w.is_floating_point(),
        f"victim={path}: {name} holds {kind}, no floating-point numbers; bring the weights as they "
        "were before",
    )
    odd = int((~torch.isfinite(w)).sum())
    require(
        odd == 0,
        f"victim={path}: {odd} of {w.numel()} numbers of {name} are not finite; nothing can be "
        "unlearned in such a net",
    )
