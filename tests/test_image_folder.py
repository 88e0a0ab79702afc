"""Folders of images, written with Pillow."""

import logging

import pytest
import torch
from PIL import Image

from antidote.core import BadInput
from antidote.dataset.image_folder import image_folder

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def paint(path, colour, size=(6, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes; path order is cat/a, cat/b, dog/a."""
    paint(tmp_path / "train/dog/a.png", BLUE)
    paint(tmp_path / "train/cat/b.png", GREEN)
    paint(tmp_path / "train/cat/a.png", RED)
    paint(tmp_path / "test/dog/z.png", RED)
    return tmp_path


def load(folder, size=6, channels=3, limit=None, **how):
    return image_folder(str(folder), size, channels, augment=None, limit=limit, **how)


def test_a_samples_id_is_its_place_in_path_order(folder):
    assert load(folder).train.x[:, :, 0, 0].tolist() == [list(RED), list(GREEN), list(BLUE)]


def test_classes_are_the_folders_in_alphabetical_order(folder):
    data = load(folder)
    assert data.classes == ("cat", "dog")
    assert (data.train.y.tolist(), data.test.y.tolist()) == ([0, 0, 1], [1])


def test_images_are_bytes_of_the_asked_size_and_channels(folder):
    paint(folder / "train/cat/c.png", RED, size=(9, 4))
    for channels in (1, 3):
        x = load(folder, size=5, channels=channels).train.x
        assert (x.shape, x.dtype) == ((4, channels, 5, 5), torch.uint8)


def test_grey_is_the_luminance(folder):
    # ITU-R 601: 0.299 R + 0.587 G + 0.114 B of 255
    assert load(folder, channels=1).train.x[:, 0, 0, 0].tolist() == pytest.approx(
        [76, 150, 29], abs=1
    )


def test_images_in_deeper_folders_belong_to_the_class_above(folder):
    paint(folder / "train/cat/more/a.png", BLUE)
    assert load(folder).train.y.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("kind", ["jpg", "bmp", "gif", "webp", "tif", "PNG", "ppm"])
def test_other_formats_are_read(folder, kind):
    paint(folder / f"train/cat/c.{kind}", RED)
    assert len(load(folder).train) == 4


def test_files_that_are_no_images_are_passed_over(folder):
    (folder / "train/cat/notes.txt").write_text("nice cat")
    assert len(load(folder).train) == 3


def test_a_limit_takes_the_classes_in_turn_and_keeps_the_path_order(folder):
    assert load(folder, limit=2).train.x[:, :, 0, 0].tolist() == [list(RED), list(BLUE)]
    assert load(folder, limit=2).train.y.tolist() == [0, 1]


def test_a_limit_leaves_no_class_behind_while_it_lasts(tmp_path):
    for name, n in (("ape", 9), ("bat", 2), ("cow", 7)):
        for i in range(n):
            paint(tmp_path / f"train/{name}/{i}.png", RED)
    paint(tmp_path / "test/ape/0.png", RED)
    assert load(tmp_path, limit=12).train.y.bincount().tolist() == [5, 2, 5]
    assert load(tmp_path, limit=99).train.y.bincount().tolist() == [9, 2, 7]


def test_images_that_a_limit_leaves_out_are_not_decoded(folder):
    (folder / "train/cat/b.png").write_bytes(b"no image")
    assert len(load(folder, limit=2).train) == 2


def test_a_limit_of_0_is_refused(folder):
    with pytest.raises(BadInput, match=r"dataset\.limit=0 keeps no training sample"):
        load(folder, limit=0)


def test_an_image_that_cannot_be_read_is_named(folder):
    (folder / "train/cat/c.png").write_bytes(b"no image")
    with pytest.raises(BadInput, match=r"c\.png cannot be read as an image"):
        load(folder)


def test_a_truncated_image_is_named(folder):
    path = folder / "train/cat/a.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(BadInput, match=r"a\.png cannot be read as an image"):
        load(folder)


def test_a_test_class_without_training_images_is_refused_by_name(folder):
    paint(folder / "test/emu/a.png", RED)
    with pytest.raises(BadInput, match="train/ lacks: emu"):
        load(folder)


def test_a_folder_without_images_is_refused(folder):
    (folder / "test/dog/z.png").unlink()
    with pytest.raises(BadInput, match="test holds no images"):
        load(folder)


@pytest.mark.parametrize("missing", [None, "nowhere"])
def test_no_folder_is_refused_with_what_works_offline(missing):
    with pytest.raises(BadInput, match="dataset=digits works offline"):
        image_folder(missing, 6, 3, augment=None, limit=None)


def test_two_channels_are_refused(folder):
    with pytest.raises(BadInput, match="neither 1"):
        load(folder, channels=2)


def test_a_size_may_be_height_and_width(folder):
    assert load(folder, size=[4, 9]).train.x.shape == (3, 3, 4, 9)


def test_an_image_may_be_cropped_or_padded_to_the_size(folder):
    paint(folder / "train/cat/c.png", BLUE, size=(12, 6))
    padded, squashed = (load(folder, fit=fit).train.x[2] for fit in ("pad", "squash"))
    assert padded[:, 0, 0].tolist() == [255, 255, 255]
    assert squashed[:, 0, 0].tolist() == list(BLUE)


def test_normalisation_may_be_given_and_is_measured_where_it_is_not(folder):
    own = load(folder, mean=[0.1, 0.2, 0.3]).facts
    measured = load(folder).facts
    assert own["mean"].tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert torch.equal(own["std"], measured["std"])
    assert load(folder, std=0.5).facts["std"].tolist() == [0.5] * 3


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"mean": [0.5]}, r"dataset.mean=\[0.5\] is not a number in 0..1 for each of 3 channels"),
        ({"mean": [123.7, 116.3, 103.5]}, "give the 255th part"),
        ({"std": [0.2, 0.2, -0.2]}, "is not a number in 0..1"),
        ({"std": [0.2, 0.2, 0]}, "divides by 0"),
    ],
)
def test_normalisation_that_cannot_be_meant_is_refused(folder, given, why):
    with pytest.raises(BadInput, match=why):
        load(folder, **given)


def test_a_channel_that_never_changes_is_warned_of(folder, caplog):
    paint(folder / "train/cat/b.png", (255, 128, 7))
    paint(folder / "train/dog/a.png", (0, 200, 7))
    paint(folder / "train/cat/a.png", (0, 0, 7))
    load(folder)
    (said,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "in channel 2 (0.0275 of 1)" in said


def test_channels_that_change_are_not_warned_of(folder, caplog):
    load(folder)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.fixture
def untested(tmp_path):
    """Three classes of 10, 5 and 1 training images, and no test part."""
    for name, n in (("ape", 10), ("bat", 5), ("cow", 1)):
        for i in range(n):
            paint(tmp_path / f"train/{name}/{i}.png", (i, n, 0))
    return tmp_path


def test_without_a_test_part_a_share_of_each_class_is_held_out_and_that_is_said(untested, caplog):
    with caplog.at_level(logging.INFO):
        data = load(untested, test_share=0.3)
    assert data.train.y.bincount().tolist() == [7, 3, 1]
    assert data.test.y.bincount().tolist() == [3, 2]
    assert "no test part: 5 of 16 images are held out for testing" in caplog.text


def test_no_image_is_in_both_parts_and_none_is_lost(untested):
    data = load(untested)
    pixels = [tuple(x[:, 0, 0].tolist()) for part in (data.train, data.test) for x in part.x]
    assert len(set(pixels)) == len(pixels) == 16
    assert len(data.names) == len(data.train)
    assert {*data.names} | {*data.left_out} == {
        f"train/{p.parent.name}/{p.name}" for p in untested.rglob("*.png")
    }


def test_what_is_held_out_follows_the_seed_and_nothing_else(untested):
    once, again, other = (load(untested, seed=s) for s in (0, 0, 1))
    assert once.names == again.names != other.names
    torch.rand(3)
    assert load(untested).names == once.names


def test_of_what_is_left_a_limit_takes_the_classes_in_turn(untested):
    assert load(untested, limit=5).train.y.bincount().tolist() == [2, 2, 1]


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5])
def test_a_share_that_leaves_nothing_is_refused(untested, share):
    with pytest.raises(BadInput, match=rf"dataset\.test_share={share} is not in \(0, 1\)"):
        load(untested, test_share=share)


def test_with_one_image_of_each_class_nothing_can_be_held_out(folder):
    for path in ("train/cat/b.png", "test/dog/z.png"):
        (folder / path).unlink()
    (folder / "test/dog").rmdir()
    (folder / "test").rmdir()
    with pytest.raises(BadInput, match="2 samples, one of each class, none can be held out"):
        load(folder)


def test_with_a_test_part_nothing_is_held_out(folder):
    assert load(folder).left_out == ()
