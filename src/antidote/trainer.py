"""The Lightning Trainer with a precision that suits the hardware."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from antidote.core import BadInput, require
from antidote.core.checks import there
from antidote.core.precision import no_tf32
from antidote.progress import Work, titled

# of Lightning's precisions
HALVES = ("16-true", "bf16-true", "transformer-engine", "transformer-engine-float16")


def trainer(accelerator: str, precision: str, **options: Any) -> L.Trainer:
    """A Trainer; precision "auto" is bf16-mixed if the hardware computes in bf16, else 32-true."""
    there(accelerator)
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
    if options.get("enable_progress_bar"):
        options["callbacks"] = [*(options.get("callbacks") or []), Told()]
    options["enable_progress_bar"] = False  # Lightning's own, which a log would be full of
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


class Told(L.Callback):
    """A fit as it goes: steps, the loss of the last one, and the last whole epoch's accuracy."""

    work: Work | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.work = Work(titled.get(), int(trainer.estimated_stepping_batches), "steps")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert self.work is not None
        self.work.step(lambda: words(outputs, trainer.callback_metrics))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert self.work is not None
        self.work.pause(lambda: words(None, trainer.callback_metrics))

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if self.work is not None:
            self.work.close()


def words(outputs: Any, metrics: Mapping[str, Any]) -> str:
    """ "loss 0.412, accuracy 0.861"; the loss is that of the last step, else of the epoch."""
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else metrics.get("train/loss")
    found = {"loss": loss, "accuracy": metrics.get("train/accuracy")}
    return ", ".join(f"{name} {float(v):.3f}" for name, v in found.items() if v is not None)
