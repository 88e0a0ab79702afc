"""One image file as bytes: whatever mode, size, ground and orientation it comes in."""

import logging
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin, features

from antidote.core import BadInput
from antidote.dataset.picture import canvas, encoded, kinds

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def read(path, size=16, channels=1, fit="squash", ground="white", seen=None):
    return canvas(size, channels, fit, ground).read(path, seen if seen is not None else Counter())


def saved(tmp_path, image, name="x.png", **how):
    image.save(tmp_path / name, **how)
    return tmp_path / name


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.pgm"])
def test_grey_of_16_bits_is_scaled_from_its_range(tmp_path, name):
    path = saved(tmp_path, Image.fromarray(RAMP.astype(np.uint16) * 257), name)
    seen = Counter()
    assert torch.equal(read(path, seen=seen)[0], torch.from_numpy(RAMP))
    assert sum(seen.values()) == 1


def test_floating_point_numbers_from_0_to_1_are_black_to_white(tmp_path):
    path = saved(tmp_path, Image.fromarray(RAMP.astype(np.float32) / 255), "x.tif")
    assert torch.equal(read(path)[0], torch.from_numpy(RAMP))


@pytest.mark.parametrize(
    ("pixels", "why"),
    [
        (RAMP.astype(np.float32), "floating-point numbers from 0 to 255"),
        (np.full((4, 4), np.nan, np.float32), "floating-point numbers from nan"),
        (RAMP.astype(np.int32) * 1000, "whole numbers of 32 bits"),
    ],
)
def test_pixels_whose_range_nobody_can_tell_are_refused_by_name(tmp_path, pixels, why):
    path = saved(tmp_path, Image.fromarray(pixels), "odd.tif")
    with pytest.raises(BadInput, match=f"odd.tif cannot be read as an image .*{why}"):
        read(path)


def test_one_bit_is_black_and_white(tmp_path):
    path = saved(tmp_path, Image.fromarray(RAMP > 100))
    assert torch.equal(read(path)[0], torch.from_numpy((RAMP > 100) * np.uint8(255)))


def test_a_palette_is_looked_up(tmp_path):
    path = saved(tmp_path, Image.new("RGB", (4, 4), "red").convert("P"), "x.gif")
    assert read(path, 4, 3)[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "RGBX", "HSV"])
def test_other_colours_are_read_or_refused_by_name(tmp_path, mode):
    image = Image.new("RGB", (4, 4), "white")
    image = Image.new("LAB", (4, 4), (255, 128, 128)) if mode == "LAB" else image.convert(mode)
    try:
        path = saved(tmp_path, image, "x.tif")
    except OSError:
        pytest.skip(f"no file holds {mode}")
    for channels in (1, 3):
        assert int(read(path, 4, channels).min()) > 250


@pytest.mark.parametrize(
    ("mode", "colour", "name"),
    [("RGBA", (0, 0, 0, 0), "x.png"), ("LA", (0, 0), "x.png"), ("PA", (0, 0), "x.im")],
)
def test_a_transparent_image_gets_the_ground(tmp_path, mode, colour, name):
    path = saved(tmp_path, Image.new(mode, (4, 4), colour), name)
    seen = Counter()
    assert read(path, 4, 3, seen=seen)[:, 0, 0].tolist() == [255, 255, 255]
    assert sum(seen.values()) == 1
    assert read(path, 4, 3, ground="#102030")[:, 0, 0].tolist() == [0x10, 0x20, 0x30]
    assert read(path, 4, 1, ground="black")[:, 0, 0].tolist() == [0]


@pytest.mark.parametrize(("mode", "key"), [("L", 7), ("RGB", (7, 7, 7)), ("P", 7)])
def test_one_colour_that_stands_for_nothing_is_transparent_too(tmp_path, mode, key):
    image = Image.new(mode, (2, 1), key)
    image.putpixel((1, 0), (9, 9, 9) if mode == "RGB" else 9)
    if mode == "P":
        image.putpalette([v for v in range(256) for _ in range(3)])
    path = saved(tmp_path, image, transparency=key)
    assert read(path, [1, 2], 1).flatten().tolist() == [255, 9]


def test_half_transparent_pixels_are_mixed_with_the_ground_and_opaque_ones_are_not(tmp_path):
    image = Image.new("RGBA", (2, 1), (200, 100, 0, 51))
    image.putpixel((1, 0), (200, 100, 0, 255))
    x = read(saved(tmp_path, image), [1, 2], 3, ground="black")
    assert x[:, 0, 0].tolist() == pytest.approx([40, 20, 0], abs=1)
    assert x[:, 0, 1].tolist() == [200, 100, 0]


def test_an_image_that_is_opaque_throughout_is_as_without_its_fourth_channel(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 3), "uint8")
    plain = saved(tmp_path, Image.fromarray(noise), "a.png")
    alpha = saved(tmp_path, Image.fromarray(noise).convert("RGBA"), "b.png")
    seen = Counter()
    assert torch.equal(read(plain, channels=3), read(alpha, channels=3, seen=seen))
    assert not +seen


# by the tag's value, what a scan of the ramp's four corners must come out as
CORNERS = {
    1: [0, 1, 2, 3],
    2: [1, 0, 3, 2],
    3: [3, 2, 1, 0],
    4: [2, 3, 0, 1],
    5: [0, 2, 1, 3],
    6: [2, 0, 3, 1],
    7: [3, 1, 2, 0],
    8: [1, 3, 0, 2],
}


@pytest.mark.parametrize("tag", CORNERS)
def test_an_image_is_looked_at_as_its_exif_data_say(tmp_path, tag):
    about = Image.Exif()
    about[0x0112] = tag
    image = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8) * np.uint8(80))
    for name in ("x.png", "x.tif", "x.webp"):
        seen = Counter()
        how = {"lossless": True} if name == "x.webp" else {}
        path = saved(tmp_path, image, name, exif=about, **how)
        assert (read(path, 2, seen=seen).flatten() // 80).tolist() == CORNERS[tag]
        assert sum(seen.values()) == (tag != 1)


def test_exif_data_that_make_no_sense_turn_nothing(tmp_path):
    path = saved(tmp_path, Image.fromarray(RAMP), "x.jpg", exif=b"Exif\x00\x00nonsense", quality=95)
    assert read(path).float().sub(torch.from_numpy(RAMP).float()).abs().max() < 20


def test_of_several_images_in_a_file_the_first_is_read_and_that_is_said(tmp_path):
    frames = [Image.new("L", (4, 4), value) for value in (10, 200)]
    for name in ("x.gif", "x.tif"):
        seen = Counter()
        path = saved(tmp_path, frames[0], name, save_all=True, append_images=frames[1:])
        assert read(path, 4, seen=seen).unique().tolist() == [10]
        assert sum(seen.values()) == 1


def two_halves(tmp_path):
    """Twice as wide as high: left black, right grey."""
    return saved(tmp_path, Image.fromarray(np.repeat(np.uint8([[0, 128]]), 8, 0).repeat(8, 1)))


def test_squashed_an_image_fills_the_size_in_other_proportions(tmp_path):
    x = read(two_halves(tmp_path), 4)
    assert x[0, :, 0].tolist() == [0] * 4
    assert x[0, :, 3].tolist() == pytest.approx([128] * 4, abs=4)


def test_cropped_it_is_the_middle(tmp_path):
    image = np.zeros((8, 16), np.uint8)
    image[:, 4:12] = 77
    assert read(saved(tmp_path, Image.fromarray(image)), 8, fit="crop").unique().tolist() == [77]


def test_padded_all_of_it_is_there_with_ground_above_and_below(tmp_path):
    x = read(two_halves(tmp_path), 8, fit="pad", ground="white")[0]
    assert x[:2].unique().tolist() == x[-2:].unique().tolist() == [255]
    assert int(x[2:-2].max()) <= 150
    colour = read(two_halves(tmp_path), 8, 3, fit="pad", ground="red")
    assert colour[:, 0, 0].tolist() == [255, 0, 0]


def test_a_size_is_a_side_or_height_and_width(tmp_path):
    path = two_halves(tmp_path)
    assert read(path, [3, 5], 3).shape == (3, 3, 5)
    assert read(path, 6).shape == (1, 6, 6)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"size": 0}, "dataset.size=0 is no image"),
        ({"size": [4]}, r"dataset.size=\[4\] is no image"),
        ({"size": [4, 0]}, "give the pixels of a side, or"),
        ({"size": [4.5, 4]}, "is no image"),
        ({"size": "32x48"}, "dataset.size=32x48 is no image"),
        ({"fit": "stretch"}, "dataset.fit=stretch is unknown; choose squash or crop or pad"),
        ({"ground": "gren"}, "dataset.ground=gren is no colour"),
        ({"channels": 2}, "dataset.channels=2 is neither 1"),
    ],
)
def test_settings_that_make_no_image_are_refused(change, why):
    with pytest.raises(BadInput, match=why):
        canvas(**{"size": 4, "channels": 1, "fit": "squash", "ground": "white"} | change)


def test_whatever_is_raised_the_file_is_named(tmp_path):
    much = PngImagePlugin.PngInfo()
    much.add_text("note", "x" * 2_000_000, zip=True)
    path = saved(tmp_path, Image.new("L", (4, 4)), "talks.png", pnginfo=much)
    with pytest.raises(BadInput, match=r"talks\.png cannot be read as an image \(Decompressed"):
        read(path)


def test_an_image_of_too_many_pixels_is_named(tmp_path, monkeypatch):
    path = saved(tmp_path, Image.new("L", (99, 99)), "vast.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(BadInput, match=r"vast\.png cannot be read as an image \(Image size"):
        read(path)


def test_what_is_odd_about_the_images_is_counted_in_the_log(tmp_path, caplog):
    files = [saved(tmp_path, Image.new("LA", (4, 4), (9, a)), f"{a}.png") for a in (0, 99, 255)]
    with caplog.at_level(logging.INFO):
        list(encoded(files, canvas(4, 1, "squash", "white")).chunks())
    assert "2 of 3 images are transparent in places" in caplog.text
    assert "turned" not in caplog.text


def test_every_kind_that_pillow_opens_is_known_and_none_that_it_only_writes_or_names():
    common = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".jfif", ".ppm"}
    assert common | {".pgm", ".tga", ".ico", ".mpo", ".jp2", ".psd", ".qoi"} <= kinds()
    assert not {".pdf", ".h5", ".hdf", ".grib", ".txt", ".npy"} & kinds()


@pytest.mark.parametrize(
    "kind", ["ppm", "tga", "jfif", "ico", "qoi", "pcx", "sgi", "dds", "im", "jp2", "avif"]
)
def test_other_kinds_are_read(tmp_path, kind):
    if kind in ("jp2", "avif") and not features.check({"jp2": "jpg_2000"}.get(kind, kind)):
        pytest.skip(f"this Pillow has no {kind}")
    path = saved(tmp_path, Image.new("RGB", (16, 16), (250, 5, 5)), f"x.{kind}")
    assert read(path, 16, 3)[:, 8, 8].tolist() == pytest.approx([250, 5, 5], abs=6)
