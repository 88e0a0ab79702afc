"""Which files of a folder are images of which class, and what is passed over."""

import logging
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from antidote.core import BadInput
from antidote.dataset.image_folder import image_folder
from antidote.dataset.listing import images, listed, paths, per_class


def paint(path: Path, value: int = 9) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (6, 6), value).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """Two classes of two and one images for training, of one each for testing."""
    for name in ("train/cat/a.png", "train/cat/b.png", "train/dog/a.png"):
        paint(tmp_path / name, len(name))
    paint(tmp_path / "test/cat/z.png")
    paint(tmp_path / "test/dog/z.png")
    return tmp_path


def load(folder, **how):
    how = {"size": 6, "channels": 1, "augment": None, "limit": None} | how
    return image_folder(str(folder), **how)


def relative(folder):
    return [p.relative_to(folder).as_posix() for p in paths(folder)]


def test_dot_names_are_no_classes_and_no_images(folder):
    (folder / "train/.ipynb_checkpoints").mkdir()
    paint(folder / "train/.cache/thumb.png")
    (folder / "train/cat/._a.png").write_bytes(b"a Mac's note about a.png")
    data = load(folder)
    assert data.classes == ("cat", "dog")
    assert data.train.y.tolist() == [0, 0, 1]


def test_links_to_class_folders_and_to_images_are_followed(folder, tmp_path):
    paint(tmp_path / "elsewhere/x.png", 50)
    (folder / "train/emu").symlink_to(tmp_path / "elsewhere")
    (folder / "train/cat/c.png").symlink_to(folder / "train/dog/a.png")
    data = load(folder)
    assert data.classes == ("cat", "dog", "emu")
    assert data.train.y.tolist() == [0, 0, 0, 1, 2]
    assert int(data.train.x[-1].max()) == 50


def test_a_part_that_is_a_link_is_followed(folder):
    (folder / "train").rename(folder / "kept")
    (folder / "train").symlink_to(folder / "kept")
    assert len(load(folder).train) == 3


def test_a_link_that_leads_round_in_circles_is_walked_once(folder):
    (folder / "train/cat/again").symlink_to(folder / "train/cat")
    (folder / "train/cat/up").symlink_to(folder)
    assert relative(folder / "train") == ["cat/a.png", "cat/b.png", "dog/a.png"]


def test_a_class_in_another_format_is_read(folder):
    Image.new("L", (6, 6), 70).save(folder / "train/dog/a.pgm")
    (folder / "train/dog/a.png").unlink()
    assert load(folder).train.y.tolist() == [0, 0, 1]


@pytest.mark.parametrize("part", ["train", "test"])
def test_an_empty_class_is_refused_by_name(folder, part):
    for path in (folder / part / "cat").iterdir():
        path.rename(path.with_suffix(".heif"))
    n = len(list((folder / part / "cat").iterdir()))
    why = rf"{part} has class folders .*: cat \({n} \.heif passed over"
    with pytest.raises(BadInput, match=why):
        load(folder)


def test_an_empty_test_class_that_training_lacks_is_refused_by_name(folder):
    (folder / "test/emu").mkdir()
    with pytest.raises(BadInput, match="train/ lacks: emu"):
        load(folder)


def test_an_image_beside_the_class_folders_is_refused_by_name(folder):
    paint(folder / "train/lost.png")
    with pytest.raises(BadInput, match=r"1 images beside its class folders, lost\.png first"):
        load(folder)


def test_a_folder_with_a_name_like_an_image_is_a_folder(folder):
    paint(folder / "train/cat/scan.png/c.png")
    assert relative(folder / "train") == [
        "cat/a.png",
        "cat/b.png",
        "cat/scan.png/c.png",
        "dog/a.png",
    ]


def test_what_is_passed_over_is_counted_by_kind(folder):
    for name in ("cat/notes.txt", "dog/more.TXT", "dog/README", "dog/.DS_Store", ".git/config"):
        (folder / "train" / name).parent.mkdir(exist_ok=True)
        (folder / "train" / name).touch()
    (folder / "train/cat/gone.png").symlink_to(folder / "nowhere.png")
    found, over = images(folder / "train")
    assert len(found) == 3
    assert dict(over) == {
        ".txt": 2,
        "without an ending": 1,
        "with a name that begins with a dot": 2,
        "that is a link to nothing": 1,
    }


def test_the_log_says_what_was_read_of_which_class_and_what_was_not(folder, caplog):
    (folder / "train/cat/notes.txt").touch()
    (folder / "val").mkdir()
    with caplog.at_level(logging.INFO):
        load(folder)
    said = [record.getMessage() for record in caplog.records]
    assert "3 training images by class: cat 2, dog 1" in said
    assert "2 test images by class: cat 1, dog 1" in said
    assert f"passed over in {folder}/train: 1 .txt" in said
    assert f"not looked at in {folder}: val" in said


def test_where_nothing_is_passed_over_nothing_is_said_of_it(folder, caplog):
    with caplog.at_level(logging.INFO):
        load(folder)
    assert "passed over" not in caplog.text
    assert "not looked at" not in caplog.text


def test_the_log_counts_what_a_limit_keeps(folder, caplog):
    with caplog.at_level(logging.INFO):
        load(folder, limit=2)
    assert "2 training images by class: cat 1, dog 1" in caplog.text


def test_of_very_many_classes_the_first_are_told():
    told = per_class(torch.arange(30), [f"k{i}" for i in range(30)])
    assert told.startswith("k0 1, k1 1, ")
    assert told.endswith("k19 1, and 10 more")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list everything")
def test_a_folder_that_may_not_be_listed_is_named(folder):
    (folder / "train/cat").chmod(0)
    with pytest.raises(BadInput, match="cat cannot be listed"):
        listed(folder / "train")


def test_samples_are_named_by_their_files(folder):
    data = load(folder)
    assert data.names == ("train/cat/a.png", "train/cat/b.png", "train/dog/a.png")
    assert data.left_out == ()


def test_what_a_limit_leaves_out_has_a_name_too(folder):
    data = load(folder, limit=2)
    assert data.names == ("train/cat/a.png", "train/dog/a.png")
    assert data.left_out == ("train/cat/b.png",)
