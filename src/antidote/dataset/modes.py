"""What images are made of: depth, orientation and transparency, brought to plain bytes."""

from __future__ import annotations

from collections import Counter

import numpy as np
from PIL import Image

from antidote.core import require

TURNED = "stored turned or mirrored and were set upright, as their EXIF data say"
TRANSPARENT = "transparent in places, where dataset.ground shows through"
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
