"""What files of weights hold, whoever wrote them, and under which names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from antidote.core import BadInput, require

Weights = dict[str, Tensor]
At = tuple[str, ...]
DEEP = 4  # mappings inside one another


def opened(path: Path) -> Any:
    """What a file holds; nothing but tensors and plain values is unpickled."""
    require(path.is_file(), f"victim={path} is not a file; victim=null trains one")
    try:
        with path.open("rb") as file:
            if file.read(9)[8:] == b"{":
                return load_file(path)
            file.seek(0)
            return torch.load(file, "cpu", weights_only=True)
    except Exception as error:  # of zip, pickle, torch and safetensors
        raise BadInput(
            f"victim={path} is neither a safetensors file nor a state dict that torch.load reads "
            f"with weights_only ({first(error)}); write it with torch.save(net.state_dict(), path)"
        ) from error


def first(error: Exception) -> str:
    """What torch says in several paragraphs, in few words."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    said = next((line for line in lines if "Unsupported" in line), lines[0])
    return said.partition(". ")[0].rstrip(".") or type(error).__name__


def nested(thing: Any, at: At = ()) -> Iterator[tuple[At, Weights]]:
    """(where, {name: tensor}) of all mappings that hold tensors, the outermost first."""
    if not isinstance(thing, Mapping) or len(at) > DEEP:
        return
    held = {n: w for n, w in thing.items() if isinstance(n, str) and isinstance(w, Tensor)}
    if held:
        yield at, held
    for name, inside in thing.items():
        yield from nested(inside, (*at, str(name)))


def fit(held: Iterable[str], wanted: list[str]) -> tuple[int, str, str]:
    """(how many of the wanted names are there, the prefix that theirs have, the prefix of ours)."""
    prefixes: dict[str, list[str]] = {}
    for name in held:
        parts = name.split(".")
        for i in range(len(parts)):
            start = ".".join(parts[:i]) + "." * (i > 0)
            prefixes.setdefault(".".join(parts[i:]), []).append(start)
    found: Counter[tuple[str, str]] = Counter()
    for ours in ("", *shared(wanted)):
        for name in wanted:
            found.update((theirs, ours) for theirs in prefixes.get(name.removeprefix(ours), ()))
    if not found:
        return 0, "", ""
    best = max(found, key=lambda pair: (found[pair], -sum(map(len, pair))))
    return found[best], *best


def shared(names: list[str]) -> list[str]:
    """All prefixes that all of the names have: ["body.", "body.stem."]."""
    parts = [name.split(".") for name in names]
    found = []
    for i in range(1, min(map(len, parts), default=0)):
        if len({tuple(p[:i]) for p in parts}) == 1:
            found.append(".".join(parts[0][:i]) + ".")
    return found
