"""The victim: a classifier that Lightning trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from antidote.core import BadInput, Data, Watch, derive
from antidote.model.weights import weights
from antidote.recipe import Recipe


class Classifier(L.LightningModule):
    """A net with the recipe that trains it.

    `net(num_classes=, **data.facts)` is the net's factory (images: mean=, std=); `data` is looked
    at for the shapes and is not kept.
    """

    def __init__(
        self,
        net: Callable[..., nn.Module],
        recipe: Recipe,
        data: Data,
        seed: int,
        channels_last: bool,
    ) -> None:
        super().__init__()
        self.factory, self.recipe, self.seed = net, recipe, seed
        self.shape = {"num_classes": data.num_classes, **data.facts}
        self.watch = Watch()
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.net = self.make("init")
        self.check(data.train.x.shape[1:])

    def make(self, draw: str) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(self.seed, draw))
            return self.factory(**self.shape).to(memory_format=self.memory_format)

    def check(self, shape: torch.Size) -> None:
        """One forward of a black image: net and images that mismatch are refused before the fit."""
        try:
            with torch.no_grad():
                self.net.eval()(torch.zeros(2, *shape))
        except (RuntimeError, ValueError, AssertionError) as error:  # the last two are timm's
            reason = str(error).partition("\n")[0].rstrip(".").replace(". ", "; ")
            raise BadInput(
                f"{type(self.net).__name__} cannot take images of shape {tuple(shape)} "
                f"({reason}); choose another dataset, model or model.net.*"
            ) from error
        self.net.train()

    def fresh(self) -> nn.Module:
        """An untrained net of the same kind and device, of another draw than the victim's start."""
        return self.make("fresh").to(self.device)

    def restore(self, path: str | Path) -> None:
        """Weights from a file, see `weights`; raises `BadInput` for those of another net."""
        self.net.load_state_dict(weights(Path(path), self.net))

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        logits = self.net(x)
        loss = self.watch(F.cross_entropy(logits, y), "the victim's loss")
        right = (logits.detach().argmax(1) == y).float().mean()
        self.log_dict(
            {"train/loss": loss, "train/accuracy": right},
            on_step=False,
            on_epoch=True,
            batch_size=len(y),
        )
        return loss

    def on_train_end(self) -> None:
        self.watch.close()

    # untyped, since the type is Lightning's own union of types
    def configure_optimizers(self):  # type: ignore[no-untyped-def]
        return self.recipe.optimizers(
            self.net.parameters(), int(self.trainer.estimated_stepping_batches)
        )
