"""One image file as bytes of the shape that is asked for, whatever mode and size it comes in."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from PIL import Image, ImageColor, ImageFile, ImageOps
from torch import Tensor

from antidote.core import BadInput, one_of, require
from antidote.dataset.fetch import in_short
from antidote.dataset.mapped import Encoded, stamp
from antidote.dataset.modes import TURNED, eight_bit, opaque, orientation, range_of, upright

log = logging.getLogger(__name__)
ROWS = 256  # decoded at a time

READER = 2  # counts up whenever a file comes out as other bytes than before
MANY = "the first of several in their file; the others were not read"
FITS: dict[str, Callable[..., Image.Image]] = {
    "squash": lambda image, size, ground: image.resize(size),
    "crop": lambda image, size, ground: ImageOps.fit(image, size),
    "pad": lambda image, size, ground: ImageOps.pad(image, size, color=ground),
}


@cache
def kinds() -> frozenset[str]:
    """Endings of all files that Pillow opens, not of those that it can only name."""
    ends = set()
    for end, form in Image.registered_extensions().items():
        opens: Any = Image.OPEN.get("JPEG" if form == "MPO" else form, (None,))[0]
        stub = isinstance(opens, type) and issubclass(opens, ImageFile.StubImageFile)
        if opens is not None and not stub:
            ends.add(end)
    return frozenset(ends)


@dataclass(frozen=True)
class Canvas:
    """What each image is brought to: (height, width) pixels, `channels` 1 (grey) or 3 (RGB).

    `fit`: "squash" takes all of an image, "crop" its middle in the right proportions, "pad" all of
    it with `ground` beside it. `ground`: a colour (R, G, B), which shows wherever an image is
    transparent.
    """

    height: int
    width: int
    channels: int
    fit: str
    ground: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.height, self.width

    @property
    def origin(self) -> list[Any]:
        """All that determines what becomes of a file."""
        return [READER, PIL.__version__, *astuple(self)]

    def read(self, path: Path, seen: Counter[str]) -> Tensor:
        """uint8 (C, H, W); counts in `seen` what is odd about it.

        Raises `BadInput`, with the file's name, for one that cannot be read.
        """
        try:
            with Image.open(path) as image:
                made = self.made(image, seen)
        except Exception as error:  # each of Pillow's plugins raises what it likes
            raise BadInput(
                f"{path} cannot be read as an image ({in_short(error)}); remove it or replace it"
            ) from error
        return torch.from_numpy(np.array(made)).view(*self.shape[1:], -1).permute(2, 0, 1)

    def made(self, image: Image.Image, seen: Counter[str]) -> Image.Image:
        seen[MANY] += getattr(image, "is_animated", False)
        top, tag = range_of(image), orientation(image)
        image.load()  # a TIFF is turned by that
        seen[TURNED] += max(tag, orientation(image)) > 1
        whole = opaque(eight_bit(upright(image), top, seen), self.ground, seen).convert("RGB")
        grey = self.channels == 1
        ground = ImageOps.grayscale(Image.new("RGB", (1, 1), self.ground)).getpixel((0, 0))
        whole = whole.convert("L") if grey else whole
        return FITS[self.fit](whole, (self.width, self.height), ground if grey else self.ground)


def canvas(size: int | Sequence[int], channels: int, fit: str, ground: str) -> Canvas:
    """From settings: `size` is a square's side or [height, width], `ground` a colour's name."""
    require(channels in (1, 3), f"dataset.channels={channels} is neither 1 (grey) nor 3 (RGB)")
    one_of("dataset.fit", fit, FITS)
    sides = [size, size] if isinstance(size, int) else list(size)
    require(
        len(sides) == 2 and all(isinstance(s, int) and s > 0 for s in sides),
        f"dataset.size={size} is no image; give the pixels of a side, or [height,width] as in "
        "[32,48]; at least 11 for ResNet-9",
    )
    try:
        colour = ImageColor.getrgb(str(ground))[:3]
    except ValueError as error:
        raise BadInput(
            f"dataset.ground={ground} is no colour; give a name as white or black, or '#rrggbb'"
        ) from error
    return Canvas(sides[0], sides[1], channels, fit, colour)


def encoded(files: Sequence[Path], canvas: Canvas) -> Encoded:
    """All of these images, still to be read."""
    origin = [canvas.origin, [(str(p.absolute()), *stamp(p)) for p in files]]
    return Encoded((len(files), *canvas.shape), origin, partial(chunks, files, canvas))


def chunks(files: Sequence[Path], canvas: Canvas) -> Iterator[Tensor]:
    seen: Counter[str] = Counter()
    for start in range(0, len(files), ROWS):
        yield torch.stack([canvas.read(path, seen) for path in files[start : start + ROWS]])
    for what, n in (+seen).items():
        log.info("%d of %d images are %s", n, len(files), what)
