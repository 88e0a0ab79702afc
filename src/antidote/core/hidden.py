"""What a net makes of rows inside: the inputs of its layers, for all rows of a loader.

Imports torch only.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from antidote.core.checks import BadInput, require
from antidote.core.data import Loader
from antidote.core.net import evaluating
from antidote.core.precision import float32

IN_MEMORY = 2**30  # bytes of features; what is larger lies in a file that is mapped
KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def named(net: nn.Module, layer: str, setting: str) -> nn.Module:
    """The layer of that name; raises `BadInput` if there is none, `setting` being who named it."""
    modules = dict(net.named_modules())
    require(
        layer in modules,
        f"{setting}={layer} is no layer of {type(net).__name__}; it has "
        f"{', '.join(names(net)[-8:]) or 'none that is linear or a convolution'}",
    )
    return modules[layer]


def head(net: nn.Module, layer: str | None, setting: str) -> str:
    """The name of the layer that gives the answers: `layer`, or the net's last linear one.

    Raises `BadInput` if there is none, or more than one that looks like it; `setting` names it.
    """
    if layer is not None:
        named(net, layer, setting)
        return layer
    modules = dict(net.named_modules())
    sides = {n: m.out_features for n, m in modules.items() if isinstance(m, nn.Linear)}
    require(
        bool(sides),
        f"{type(net).__name__} has no linear layer that gives its answers; name a layer whose "
        f"input tells samples apart with {setting}=..., one of "
        f"{', '.join(names(net)[-8:]) or 'its modules'}",
    )
    last = list(sides)[-1]
    answers = [name for name, side in sides.items() if side == sides[last]]
    require(
        len(answers) == 1,
        f"{type(net).__name__} has {len(answers)} linear layers that could give its answers: "
        f"{', '.join(answers)}; name one with {setting}=...",
    )
    return last


def linear_head(net: nn.Module, layer: str | None, setting: str) -> tuple[str, nn.Linear]:
    """(name, layer) that gives the answers; raises `BadInput` where `head` does, or for another."""
    name = head(net, layer, setting)
    last = net.get_submodule(name)
    if not isinstance(last, nn.Linear):
        raise BadInput(
            f"{setting}={name} is a {type(last).__name__}; it must be the linear layer that gives "
            "the answers"
        )
    return name, last


def names(net: nn.Module) -> list[str]:
    """Of all layers with weights whose input can be looked at, in the order of definition."""
    return [name for name, module in net.named_modules() if isinstance(module, KINDS)]


def pooled(h: Tensor) -> Tensor:
    """(n, d) of a layer's input: mean and maximum over positions, where there are positions."""
    if h.dim() <= 2:
        return h.reshape(len(h), -1)
    # (n, C, positions...) of images, (n, positions, C) of tokens
    flat = h.flatten(2) if h.dim() > 3 else h.transpose(1, 2)
    return torch.cat([flat.mean(2), flat.amax(2)], 1)


@contextmanager
def watched(net: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """In the block, {layer: its pooled input} of the last forward."""
    seen: dict[str, Tensor] = {}

    def look(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            seen[name] = pooled(args[0]).float()

        return hook

    handles = [net.get_submodule(n).register_forward_pre_hook(look(n)) for n in layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def used(net: nn.Module, loader: Loader, layers: Sequence[str]) -> list[str]:
    """Those of the layers that take part when the net answers, seen on two rows."""
    with evaluating(net), watched(net, layers) as seen:
        for x, _ in loader.with_(rows=loader.rows[:2]):
            net(x)
    return [name for name in layers if name in seen]


def inputs(loader: Loader, most: int = 1024) -> Tensor | None:
    """What the net is given, (n, d) with d at most `most`: images, halved until they fit.

    None for what is no image.
    """
    found = []
    for x, _ in loader:
        if x.dim() != 4 or not x.is_floating_point():
            return None
        while x[0].numel() > most and min(x.shape[2:]) > 1:
            x = F.avg_pool2d(x, 2)
        found.append(x.flatten(1).float().cpu())
    return torch.cat(found)


@torch.no_grad()
def features(
    net: nn.Module, loader: Loader, layers: Sequence[str], in_memory: int = IN_MEMORY
) -> dict[str, Tensor]:
    """{layer: float32 (n, d)}, rows as in the loader; one pass, in evaluation mode and float32.

    On the CPU; tensors of more than `in_memory` bytes are mapped from a file that vanishes with
    them.
    """
    device, n, done = next(net.parameters()).device, loader.count, 0
    found: dict[str, Tensor] = {}
    with evaluating(net), float32(device), watched(net, layers) as seen:
        for x, _ in loader:
            seen.clear()
            net(x)
            for name, h in read(seen, layers):
                if name not in found:
                    found[name] = room((n, h.shape[1]), in_memory // len(layers))
                found[name][done : done + len(h)] = h.cpu()
            done += len(x)
    return found


def read(seen: dict[str, Tensor], layers: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
    for name in layers:
        if name not in seen:
            raise BadInput(f"layer={name} is not used when the net answers; name another")
        yield name, seen[name]


def room(shape: tuple[int, int], in_memory: int) -> Tensor:
    """An empty float32 tensor, in memory or mapped."""
    size = math.prod(shape)
    if 4 * size <= in_memory:
        return torch.empty(shape)
    with tempfile.NamedTemporaryFile(suffix=".features") as file:
        return torch.from_file(file.name, shared=True, size=size).view(shape)
