"""PatchCamelyon, on small HDF5 files of the same format."""

from pathlib import Path

import archives
import h5py
import pytest
import torch
from hydra import compose, initialize_config_dir

from antidote.core import BadInput
from antidote.dataset.images import statistics
from antidote.dataset.pcam import pcam

X, Y = "camelyonpatch_level_2_split_train_x.h5", "camelyonpatch_level_2_split_test_y.h5"


def load(folder, memory_map=False, limit=None, crop=None, statistics="own"):
    where = str(folder), crop, statistics, memory_map, str(folder / "decoded")
    return pcam(*where, augment=None, download=False, limit=limit)


@pytest.mark.parametrize("memory_map", [False, True])
def test_images_and_labels_are_those_of_torchvision(tmp_path, memory_map):
    from torchvision.datasets import PCAM
    from torchvision.transforms.functional import pil_to_tensor

    archives.pcam(tmp_path / "pcam", n=5)
    data = load(tmp_path, memory_map)
    for split, part in (("train", data.train), ("test", data.test)):
        theirs = PCAM(str(tmp_path), split)
        assert torch.equal(part.x, torch.stack([pil_to_tensor(image) for image, _ in theirs]))
        assert part.y.tolist() == [label for _, label in theirs] == [0, 1, 0, 1, 0]
    assert data.num_classes == 2


def test_more_images_than_are_decoded_at_a_time(tmp_path):
    archives.pcam(tmp_path, n=1030, side=4)
    data = load(tmp_path, memory_map=True)
    with h5py.File(tmp_path / X) as file:
        assert torch.equal(data.train.x, torch.from_numpy(file["x"][:]).permute(0, 3, 1, 2))


def drawn(folder, side):
    """Black images of that side with a white dot at row 4, column 5 of each."""
    archives.pcam(folder, n=2, side=side)
    for part in ("train", "test"):
        with h5py.File(folder / f"camelyonpatch_level_2_split_{part}_x.h5", "r+") as file:
            file["x"][...] = 0
            file["x"][:, 4, 5] = 255


@pytest.mark.parametrize("memory_map", [False, True])
@pytest.mark.parametrize(
    ("side", "crop", "place"), [(10, 4, (1, 2)), (9, 3, (1, 2)), (9, 4, (2, 3))]
)
def test_a_crop_keeps_the_square_in_the_middle(tmp_path, memory_map, side, crop, place):
    drawn(tmp_path, side)  # (10 - 4) / 2 = 3 pixels go above and left, likewise 3 and 2
    data = load(tmp_path, memory_map, crop=crop)
    for part in (data.train, data.test):
        assert part.x.shape == (2, 3, crop, crop)
        white = (part.x == 255).nonzero()[:, 2:].unique(dim=0)
        assert white.tolist() == [list(place)]


def test_the_middle_32_of_96_pixels_are_those_from_32_to_64(tmp_path):
    archives.pcam(tmp_path, n=3)
    whole, middle = load(tmp_path).train.x, load(tmp_path, crop=32).train.x
    assert torch.equal(middle, whole[:, :, 32:64, 32:64])


def test_another_crop_is_decoded_beside_the_first(tmp_path):
    archives.pcam(tmp_path, n=3, side=8)
    whole = load(tmp_path, memory_map=True).train.x
    for crop in (4, 8, None):
        found = load(tmp_path, memory_map=True, crop=crop).train.x
        margin = (8 - (crop or 8)) // 2
        assert torch.equal(found, whole[:, :, margin : 8 - margin, margin : 8 - margin])


@pytest.mark.parametrize("crop", [0, -4, 97, 3.5])
def test_a_crop_that_is_no_part_of_the_images_is_refused(tmp_path, crop):
    archives.pcam(tmp_path, n=2)
    with pytest.raises(BadInput, match=rf"crop={crop} pixels is no part of images of 96x96"):
        load(tmp_path, crop=crop)


def test_statistics_are_those_of_the_cropped_images_or_a_half(tmp_path):
    archives.pcam(tmp_path, n=4)
    own, half = (load(tmp_path, crop=32, statistics=s) for s in ("own", "half"))
    assert torch.equal(own.facts["mean"], statistics(own.train.x)[0])
    assert torch.equal(own.facts["std"], statistics(own.train.x)[1])
    assert half.facts["mean"].tolist() == half.facts["std"].tolist() == [0.5] * 3
    assert torch.equal(own.train.x, half.train.x)


def test_other_statistics_are_refused(tmp_path):
    with pytest.raises(
        BadInput, match=r"dataset\.statistics=cifar10 is unknown; choose own or half"
    ):
        load(tmp_path, statistics="cifar10")


@pytest.mark.parametrize(
    ("preset", "chosen"), [("fixed", (None, "own")), ("reference", (32, "half"))]
)
def test_the_preset_chooses_crop_and_statistics(preset, chosen):
    with initialize_config_dir(str(Path(__file__).parents[1] / "conf"), version_base="1.3"):
        cfg = compose("config", ["dataset=pcam", f"preset={preset}"])
    assert (cfg.dataset.crop, cfg.dataset.statistics) == chosen


def test_files_straight_in_the_folder_are_found(tmp_path):
    archives.pcam(tmp_path, n=4)
    assert len(load(tmp_path).train) == 4


def test_files_that_changed_are_decoded_again(tmp_path):
    archives.pcam(tmp_path, n=4, side=4)
    before = load(tmp_path, memory_map=True).train.x.clone()
    with h5py.File(tmp_path / X, "r+") as file:
        file["x"][0] = 255 - file["x"][0]
    after = load(tmp_path, memory_map=True).train.x
    assert torch.equal(after[0], 255 - before[0])


DAMAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "empty": lambda path: path.write_bytes(b""),
    "no HDF5": lambda path: path.write_bytes(b"x" * 5000),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", [X, Y])
def test_a_damaged_file_is_refused_by_name(tmp_path, damage, name):
    archives.pcam(tmp_path, n=4)
    damage(tmp_path / name)
    with pytest.raises(BadInput) as error:
        load(tmp_path, memory_map=True)
    assert str(error.value).startswith(f"{tmp_path / name} is damaged (")
    assert not list(tmp_path.glob("decoded/*.u8"))


def test_a_missing_file_is_said(tmp_path):
    (archives.pcam(tmp_path / "pcam", n=4) / Y).unlink()
    with pytest.raises(BadInput, match=r"pcam is damaged \(some of its four files are missing"):
        load(tmp_path)


def rewrite(path, name, content):
    with h5py.File(path, "w") as file:
        file[name] = content


def test_a_file_of_other_content_is_refused_by_name(tmp_path):
    archives.pcam(tmp_path, n=4)
    rewrite(tmp_path / X, "z", [1])
    with pytest.raises(BadInput, match=r"train_x\.h5 is damaged"):
        load(tmp_path)
    rewrite(tmp_path / X, "x", [0.5])
    with pytest.raises(BadInput, match=r"train_x\.h5 holds float64 of shape \(1,\), not bytes"):
        load(tmp_path)


def test_other_numbers_of_images_and_labels_are_refused_before_decoding(tmp_path):
    archives.pcam(tmp_path, n=4)
    rewrite(tmp_path / Y, "y", [[[[1]]]])
    with pytest.raises(BadInput, match="has 4 images but 1 labels in its test part"):
        load(tmp_path, memory_map=True)
    assert not (tmp_path / "decoded").exists()
