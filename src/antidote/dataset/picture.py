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

log = logging.getLogger(__name__)
ROWS = 256  # decoded at a time

READER = 2  # counts up whenever a file comes out as other bytes than before
TURNED = "stored turned or mirrored and were set upright, as their EXIF data say"
TRANSPARENT = "transparent in places, where dataset.ground shows through"
MANY = "several images in one file, of which the first was read"
DEEP = "of more than 8 bits and were scaled from the whole range of their mode"
TURNS = {  # by EXIF's orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
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


def range_of(image: Image.Image) -> int:
    """The largest value of a pixel that is no byte; 255 for all others."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        return 65535
    require(
        image.mode != "I",
        "its pixels are whole numbers of 32 bits, of which nobody can tell which one is white: "
        "store it with 8 or 16 bits",
    )
    return 1 if image.mode == "F" else 255


def eight_bit(image: Image.Image, top: int, seen: Counter[str]) -> Image.Image:
    if top == 255:
        return image
    pixels = np.asarray(image, dtype=np.float64) / top
    require(
        bool(((pixels >= 0) & (pixels <= 1)).all()),
        f"its pixels are floating-point numbers from {pixels.min():g} to {pixels.max():g}, and 0 "
        "to 1 is black to white",
    )
    seen[DEEP] += 1
    return Image.fromarray(np.rint(255 * pixels).astype(np.uint8))


def orientation(image: Image.Image) -> int:
    """1 to 8, as EXIF has it; 1, which is upright, for data that make no sense."""
    try:
        tag = image.getexif().get(0x0112, 1)
    except Exception:
        return 1
    return tag if tag in TURNS else 1


def upright(image: Image.Image) -> Image.Image:
    tag = orientation(image)
    return image if tag == 1 else image.transpose(TURNS[tag])


def opaque(image: Image.Image, ground: tuple[int, int, int], seen: Counter[str]) -> Image.Image:
    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    if layer.getchannel("A").getextrema()[0] == 255:
        return image
    seen[TRANSPARENT] += 1
    return Image.alpha_composite(Image.new("RGBA", layer.size, (*ground, 255)), layer)


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
