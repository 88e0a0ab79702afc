"""The files a run leaves in its folder; each appears whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.torch import save
from torch import Tensor, nn

from antidote.core import Data, Poison, Report
from antidote.disk import write
from antidote.report import figures


def model(path: Path, net: nn.Module) -> Path:
    """All parameters and buffers as safetensors."""
    return write(
        path, save({k: t.detach().cpu().contiguous() for k, t in net.state_dict().items()})
    )


def poison_ids(path: Path, data: Data, poison: Poison, known: Tensor, unknown: Tensor) -> Path:
    """npz of the poison's row ids and labels.

    `indices` of all poison, its `known` and `unknown` part; `label` (poisoned), `true_label`.
    """
    rows = poison.indices
    arrays = {
        "indices": rows,
        "known": known,
        "unknown": unknown,
        "label": poison.train.y[rows],
        "true_label": data.train.y[rows],
    }
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{k: t.cpu().numpy() for k, t in arrays.items()})
    return write(path, buffer.getvalue())


def pictures(
    folder: Path,
    data: Data,
    poison: Poison,
    nets: tuple[nn.Module, nn.Module],
    measured: tuple[Mapping[str, float], Mapping[str, float]],
    report: Report,
) -> list[Path]:
    """Samples with both nets' answers, per-class accuracy, and the search's path if there was one.

    `nets` and `measured` are (before, after).
    """
    made = [
        figures.samples(folder / "samples.png", data, poison, *nets),
        figures.per_class(folder / "per_class.png", data.classes, *measured),
    ]
    if report.search:
        made.append(figures.search_path(folder / "ptn_path.png", report.steps, report.search))
    return made
