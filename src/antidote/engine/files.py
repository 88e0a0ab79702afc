"""The files a run leaves in its folder; each appears whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from antidote.core import Data, Loader, Poison, Split, Traced, answers
from antidote.engine.disk import write

SHOWN = 6  # images of each kind


def model(path: Path, net: nn.Module) -> Path:
    """All parameters and buffers as safetensors."""
    return write(
        path, save({k: t.detach().cpu().contiguous() for k, t in net.state_dict().items()})
    )


def arrays(path: Path, tensors: Mapping[str, Tensor]) -> Path:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{k: t.cpu().numpy() for k, t in tensors.items()})
    return write(path, buffer.getvalue())


def poison_ids(path: Path, poison: Poison, known: Tensor, unknown: Tensor) -> Path:
    """npz of the poison's row ids and labels.

    `indices` of all poison, its `known` and `unknown` part; `label` (poisoned), `true_label`.
    """
    rows = poison.indices
    labels = {"label": poison.train.y[rows], "true_label": poison.truth[rows]}
    return arrays(path, {"indices": rows, "known": known, "unknown": unknown, **labels})


def traced(path: Path, split: Split, found: Traced) -> Path:
    """npz of what was traced: `rows` (m,), and the `scores` (n,) of the `candidates` (n,).

    All are training rows; a score is NaN for one that was not looked at.
    """
    kept = split.retain.rows
    return arrays(path, {"rows": found.rows, "candidates": kept, "scores": found.scores})


def named(path: Path, data: Data, rows: Tensor) -> Path:
    """A list as discovery=files takes it: names of training rows, or their numbers."""
    known = dict(enumerate(data.names))
    return write(path, "".join(f"{known.get(row, row)}\n" for row in rows.tolist()))


def samples(path: Path, data: Data, poison: Poison, nets: Sequence[nn.Module]) -> Path:
    """npz of a few images of each kind, from which pictures are drawn later.

    `<kind>/images` (k, C, H, W) bytes, `<kind>/true` and `<kind>/stored` labels (k,), and
    `<kind>/told` (2, k): what the nets before and after answer.
    """
    kinds: dict[str, tuple[Loader, Tensor]] = {
        "clean test": (poison.probes["test"].loader, data.test.y)
    }
    if len(poison.indices):
        as_trained = Loader(poison.train, poison.indices, view=poison.view)
        kinds["poisoned training"] = as_trained, poison.truth
    for name, probe in poison.probes.items():
        if name not in ("test", "poisoned"):
            kinds[name] = probe.loader, probe.loader.samples.y
    found: dict[str, Tensor] = {}
    for kind, (loader, truth) in kinds.items():
        few = loader.with_(rows=loader.rows[:: max(1, len(loader.rows) // SHOWN)][:SHOWN])
        images = torch.cat([x for x, _ in few])
        found[f"{kind}/images"] = images.clamp(0, 1).mul(255).round().byte()
        found[f"{kind}/true"] = truth[few.rows]
        found[f"{kind}/stored"] = torch.cat([y for _, y in few])
        found[f"{kind}/told"] = torch.stack([answers(net, few)[0] for net in nets])
    return arrays(path, found)
