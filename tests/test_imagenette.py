"""Imagenette, on small trees of JPEGs of the same layout."""

import archives
import pytest
import torch
from PIL import Image

from antidote.core import BadInput
from antidote.dataset.imagenette import CLASSES, imagenette

BARS = 40  # pixels left and right of the square in the middle


def load(folder, size=16, archive="160px", memory_map=False, limit=None):
    decoded = str(folder / "decoded")
    return imagenette(
        str(folder), archive, size, memory_map, decoded, augment=None, download=False, limit=limit
    )


def test_labels_and_class_names_are_those_of_torchvision(tmp_path):
    from torchvision.datasets import Imagenette

    archives.imagenette(tmp_path)
    data, theirs = load(tmp_path), Imagenette(str(tmp_path), "val", "160px")
    assert data.test.y.tolist() == [label for _, label in theirs]
    assert data.classes == tuple(names[0] for names in theirs.classes)
    assert list(CLASSES) == theirs.wnids


def test_images_are_those_of_torchvisions_resize_and_centre_crop(tmp_path):
    from torchvision import transforms as T
    from torchvision.datasets import Imagenette

    archives.imagenette(tmp_path)
    bicubic = T.InterpolationMode.BICUBIC
    usual = T.Compose([T.Resize(32, bicubic), T.CenterCrop(32), T.PILToTensor()])
    theirs = Imagenette(str(tmp_path), "val", "160px", transform=usual)
    ours = load(tmp_path, size=32).test.x
    # cut out before or after the resizing: half a pixel of difference on smooth images
    difference = ours.float() - torch.stack([x for x, _ in theirs]).float()
    assert difference.abs().mean() < 5


def test_the_largest_square_in_the_middle_is_kept(tmp_path):
    tree = archives.imagenette(tmp_path)
    path = next((tree / "val/n01440764").iterdir())
    image = Image.new("RGB", (160 + 2 * BARS, 160), (255, 0, 0))
    image.paste((0, 0, 255), (BARS, 0, BARS + 160, 160))
    image.save(path, quality=100)
    red, _, blue = load(tmp_path).test.x[0].float()
    assert red[:, 1:-1].max() < 5
    assert blue[:, 1:-1].min() > 250


def test_the_classes_come_in_turn_so_that_a_limit_keeps_all(tmp_path):
    archives.imagenette(tmp_path, n=3)
    assert load(tmp_path).train.y.tolist() == [*range(10)] * 3
    assert load(tmp_path, limit=20).train.y.bincount().tolist() == [2] * 10


def test_classes_of_different_size_lose_no_image(tmp_path):
    tree = archives.imagenette(tmp_path, n=3)
    (tree / "train/n02102040/n02102040_1.JPEG").unlink()
    assert load(tmp_path).train.y.bincount().tolist() == [3, 2, *[3] * 8]


def test_a_mapped_file_holds_the_same(tmp_path):
    archives.imagenette(tmp_path)
    held, mapped = load(tmp_path), load(tmp_path, memory_map=True)
    assert torch.equal(held.train.x, mapped.train.x)
    assert torch.equal(held.facts["mean"], mapped.facts["mean"])


def test_every_archive_has_its_folder(tmp_path):
    archives.imagenette(tmp_path, archive="imagenette2-320")
    assert len(load(tmp_path, archive="320px").train) == 20
    with pytest.raises(BadInput, match=r"dataset\.archive=80px is unknown; choose 160px, 320px"):
        load(tmp_path, archive="80px")


def test_a_tree_that_lacks_a_class_is_refused_by_name(tmp_path):
    tree = archives.imagenette(tmp_path)
    (tree / "val/n03888257/n03888257_0.JPEG").unlink()
    with pytest.raises(BadInput) as error:
        load(tmp_path)
    assert str(error.value).startswith(f"{tree / 'val'} is damaged (no images in n03888257)")


def test_a_truncated_image_is_named(tmp_path):
    tree = archives.imagenette(tmp_path)
    path = tree / "train/n03028079/n03028079_1.JPEG"
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(BadInput, match=r"n03028079_1\.JPEG cannot be read as an image"):
        load(tmp_path, memory_map=True)
