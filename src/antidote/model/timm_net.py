"""Any image classifier of the timm library, by its name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from antidote.core import BadInput, require
from antidote.model.normalize import Normalize

SHORTCUTS = ("downsample", "shortcut")


def create(name: str, pretrained: bool, **how: Any) -> nn.Module:
    """timm.create_model; what it refuses, and weights that cannot be had, end in one sentence."""
    import timm  # takes seconds, and few runs need it

    if ":" not in name and not timm.is_model(name.partition(".")[0]):
        close = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "timm.list_models() lists all"
        raise BadInput(f"model.net.name={name} is not a model of timm {timm.__version__}; {hint}")
    try:
        return timm.create_model(name, pretrained=pretrained, **how)
    except TypeError as error:
        raise BadInput(f"timm cannot make {name} from model.net.options: {first(error)}") from error
    except Exception as error:  # of many libraries: timm, its download client, the files' reader
        if not pretrained:
            raise BadInput(f"timm cannot make {name}: {first(error)}") from error
        raise BadInput(
            f"the pretrained weights of {name} cannot be had ({first(error)}); "
            "model.net.pretrained=false starts from random ones"
        ) from error


def first(error: Exception) -> str:
    """The first sentence of an error's message."""
    return re.split(r"\.\s|\n", str(error))[0].rstrip(".") or type(error).__name__


def opened(part: nn.Module) -> Iterator[nn.Module]:
    """A part, or the parts of a mere container."""
    container = isinstance(part, nn.Sequential | nn.ModuleList)
    if container and not list(part.parameters(recurse=False)):
        for child in part.children():
            yield from opened(child)
    else:
        yield part


def weight_layers(part: nn.Module) -> int:
    """Convolutions and linear layers in `part`, shortcuts left out."""
    apart = {
        layer
        for module in part.modules()
        for name, child in module.named_children()
        # beside a row of blocks it is no shortcut: all of the image passes through it
        if name in SHORTCUTS and not hasattr(module, "blocks")
        for layer in child.modules()
    }
    kinds = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
    return sum(isinstance(m, kinds) and m not in apart for m in part.modules())


class TimmNet(nn.Module):
    """Images (n, C, H, W) in 0..1 to logits (n, num_classes).

    `image_size` is what images are resized to, bilinearly; None leaves them as they are. `options`
    go to timm.create_model; None among them is timm's own value. `pretrained` nets see the data's
    mean and deviation, not those of the data they were trained on.
    """

    def __init__(
        self,
        num_classes: int,
        mean: Tensor,
        std: Tensor,
        name: str,
        pretrained: bool,
        image_size: int | None,
        options: Mapping[str, Any],
    ) -> None:
        super().__init__()
        require(
            image_size is None or (isinstance(image_size, int) and image_size >= 1),
            f"model.net.image_size={image_size} is not a number of pixels; null does not resize",
        )
        self.image_size = image_size
        self.normalize = Normalize(mean, std)
        given = {option: value for option, value in options.items() if value is not None}
        shape = {"num_classes": num_classes, "in_chans": len(mean)}
        self.body = create(name, pretrained, **shape, **given)

    def stages(self) -> list[tuple[nn.Module, int]]:
        """The parts in the order timm lists them, each with its weight layers, shortcuts left out.

        A part is a list of modules, not to be called: what has no weight layer, as a norm, is in
        the part before it. Parameters of the whole (class token, positions) are with the first.
        """
        parts: list[list[nn.Module]] = [[nn.ParameterList(self.body.parameters(recurse=False))]]
        layers = [0]
        for part in (p for child in self.body.children() for p in opened(child)):
            found = weight_layers(part)
            if found and layers[-1]:
                parts.append([])
                layers.append(0)
            parts[-1].append(part)
            layers[-1] += found
        return [(nn.ModuleList(p), n) for p, n in zip(parts, layers, strict=True)]

    def forward(self, x: Tensor) -> Tensor:
        size = self.image_size
        if size is not None and x.shape[-2:] != (size, size):
            x = F.interpolate(x, size=size, mode="bilinear", antialias=True)
        return self.body(self.normalize(x))
