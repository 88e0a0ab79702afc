"""PatchCamelyon, on small HDF5 files of the same format."""

import archives
import h5py
import pytest
import torch

from antidote.checks import BadInput
from antidote.dataset.pcam import pcam

X, Y = "camelyonpatch_level_2_split_train_x.h5", "camelyonpatch_level_2_split_test_y.h5"


def load(folder, memory_map=False, limit=None):
    decoded = str(folder / "decoded")
    return pcam(str(folder), memory_map, decoded, augment=None, download=False, limit=limit)


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
