"""The Lightning Trainer with a precision that suits the hardware."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from antidote.core import BadInput, require
from antidote.core.precision import no_tf32

# of Lightning's precisions
HALVES = ("16-true", "bf16-true", "transformer-engine", "transformer-engine-float16")


def trainer(accelerator: str, precision: str, **options: Any) -> L.Trainer:
    """A Trainer; precision "auto" is bf16-mixed if the hardware computes in bf16, else 32-true."""
    require(
        accelerator != "gpu" or torch.cuda.is_available(),
        "trainer=gpu finds no GPU; use trainer=cpu or trainer=auto",
    )
    devices = options.get("devices", 1)
    require(
        devices == 1,
        f"trainer.devices={devices}: a run uses one device; run several jobs with -m instead",
    )
    require(
        str(precision) not in HALVES,
        f"trainer.precision={precision} keeps the weights themselves in half precision, in which "
        "what unlearning measures and edits is lost; trainer.precision=bf16-mixed or 16-mixed "
        "computes in half precision with whole weights",
    )
    if precision == "auto":
        precision = "bf16-mixed" if has_bf16(accelerator) else "32-true"
    # in a file a bar would leave a line for every step
    options["enable_progress_bar"] = options.get("enable_progress_bar") and sys.stderr.isatty()
    if options["enable_progress_bar"]:
        # Lightning would take rich's, of which two cannot be at work at a time: a method trains
        # while the victim's Trainer is still about
        options["callbacks"] = [*(options.get("callbacks") or []), TQDMProgressBar()]
    no_tf32()  # else a GPU would convolve in TF32 where float32 is claimed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return L.Trainer(accelerator=accelerator, precision=precision, **options)  # type: ignore[arg-type]
        except (TypeError, ValueError, MisconfigurationException, ModuleNotFoundError) as error:
            raise BadInput(f"the Trainer refuses its settings: {error}") from error


def has_bf16(accelerator: str) -> bool:
    if accelerator != "cpu" and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
