"""Arrays of images and labels in files, by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from antidote.core import BadInput, require
from antidote.dataset.fetch import in_short
from antidote.dataset.listing import briefly

Files = str | Sequence[str]
Held = dict[str, Tensor]


def opened(files: Files, x: str, y: str) -> Held:
    """All arrays of numbers in a file, by name; of two .npy files, called `x` and `y`."""
    if isinstance(files, str):
        held = read(Path(files))
        require(
            "" not in held,
            f"{files} holds one array, and images and labels are two; give two .npy files, "
            "[x.npy,y.npy]",
        )
        return held
    found = [read(Path(path)) for path in files]
    require(
        len(found) == 2 and all(list(held) == [""] for held in found),
        f"{list(files)} is neither a file that holds images and labels nor two .npy files, "
        "[x.npy,y.npy]",
    )
    return {x: found[0][""], y: found[1][""]}


def read(path: Path) -> Held:
    """By name; the one array of an .npy file is called ""."""
    end = path.suffix.lower()
    require(
        end in (".npz", ".npy", ".safetensors"),
        f"{path} is no .npz, .safetensors or .npy file; arrays are read from these",
    )
    require(path.is_file(), f"{path} is not a file; dataset.train and dataset.test name files")
    try:
        if end == ".safetensors":
            return load_file(path)
        held = np.load(path, allow_pickle=False)
        return tensors({"": held} if end == ".npy" else held)
    except Exception as error:  # of zip, numpy and safetensors
        raise BadInput(f"{path} cannot be read as arrays ({in_short(error)})") from error


def tensors(held: Mapping[str, np.ndarray]) -> Held:
    """In the machine's own order of bytes."""
    found = {}
    for name in held:
        array = held[name]
        if array.dtype.kind in "biuf":
            own = array.astype(array.dtype.newbyteorder("="), order="C", copy=False)
            found[name] = torch.from_numpy(own)
    return found


def has(held: Held, x: str, y: str, part: str) -> bool:
    """Whether a file holds images and labels that are said to be of that part."""
    return all(any(n in held for n in of_part(name, part)) for name in (x, y))


def called(held: Held, x: str, y: str, part: str, files: Files) -> tuple[Tensor, Tensor]:
    """Images and labels of a part: x_train, train_x, or x where a file holds one part only."""
    found = []
    for name in (x, y):
        known = [n for n in (*of_part(name, part), name) if n in held]
        require(
            bool(known),
            f"{files} holds no numbers called {name} (or {' or '.join(of_part(name, part))}), only "
            f"{briefly(list(held)) or 'none'}; dataset.x and dataset.y say what they are called",
        )
        found.append(held[known[0]])
    return found[0], found[1]


def of_part(name: str, part: str) -> tuple[str, str]:
    return f"{name}_{part}", f"{part}_{name}"
