"""float32 that is float32, whatever precision the caller computes in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import backends

GPU, CPU, CUDNN = backends.cuda, backends.mkldnn, backends.cudnn
KINDS = (GPU.matmul, CPU.matmul, CUDNN.conv, CUDNN.rnn)  # type: ignore[attr-defined]


@contextmanager
def float32(device: torch.device) -> Iterator[None]:
    """No autocast of the caller's, and no TF32; his own settings are put back.

    torch has two ways to allow TF32 and refuses to read the older one where they disagree, so both
    are set and both put back.
    """
    kinds = [kind.fp32_precision for kind in KINDS]
    matmul = asked(torch.get_float32_matmul_precision, "highest")
    cudnn = asked(lambda: CUDNN.allow_tf32, True)
    no_tf32()
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        choose(matmul, cudnn, kinds)


def no_tf32() -> None:
    """From here on float32 is computed in float32."""
    choose("highest", False, ["ieee"] * len(KINDS))


def choose(matmul: str, cudnn: bool, kinds: list[str]) -> None:
    torch.set_float32_matmul_precision(matmul)
    CUDNN.allow_tf32 = cudnn
    for kind, precision in zip(KINDS, kinds, strict=True):
        kind.fp32_precision = precision


def asked(older: Callable[[], Any], default: Any) -> Any:
    """What the older way says; torch's own default where it is out of use."""
    try:
        return older()
    except RuntimeError:
        return default
