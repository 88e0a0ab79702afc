"""The reader of IDX files, on small files of the same format."""

import gzip
import re
import struct

import pytest
import torch

from antidote.core import BadInput
from antidote.dataset import fashion_mnist as source

IMAGES = torch.arange(2 * 3 * 4, dtype=torch.uint8).view(2, 3, 4)
LABELS = torch.tensor([7, 9], dtype=torch.uint8)


def idx(t):
    return bytes([0, 0, 8, t.dim()]) + struct.pack(f">{t.dim()}I", *t.shape) + t.numpy().tobytes()


def fill(folder, packed):
    """Writes the four files; those of the test part are the training part backwards."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {"train-images-idx3": IMAGES, "train-labels-idx1": LABELS}
    contents |= {"t10k-images-idx3": IMAGES.flip(0), "t10k-labels-idx1": LABELS.flip(0)}
    for name, t in contents.items():
        path = folder / f"{name}-ubyte{'.gz' * packed}"
        path.write_bytes(gzip.compress(idx(t)) if packed else idx(t))


@pytest.fixture(autouse=True)
def no_other_source(monkeypatch, tmp_path):
    """Neither Debian's package nor a download is at hand."""
    monkeypatch.setattr(source, "DEBIAN", tmp_path / "debian")


def load(folder, download=False):
    return source.fashion_mnist(str(folder), augment=None, download=download, limit=None)


@pytest.mark.parametrize("packed", [False, True])
def test_plain_and_packed_files_hold_the_same(tmp_path, packed):
    fill(tmp_path, packed)
    data = load(tmp_path)
    assert torch.equal(data.train.x, IMAGES.unsqueeze(1))
    assert torch.equal(data.test.x, IMAGES.flip(0).unsqueeze(1))
    assert (data.train.y.tolist(), data.test.y.tolist()) == ([7, 9], [9, 7])


def test_there_are_ten_classes_and_labels_are_int64(tmp_path):
    fill(tmp_path, packed=True)
    data = load(tmp_path)
    assert data.num_classes == len(set(data.classes)) == 10
    assert data.train.y.dtype == torch.int64


def test_a_limit_keeps_the_first_images(tmp_path, monkeypatch):
    coin = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (200,), generator=coin).byte()
    images = torch.randint(256, (200, 3, 4), generator=coin).byte()
    monkeypatch.setattr(f"{__name__}.IMAGES", images)
    monkeypatch.setattr(f"{__name__}.LABELS", labels)
    fill(tmp_path, packed=False)
    found = source.fashion_mnist(str(tmp_path), augment=None, download=False, limit=30).train
    assert torch.equal(found.x[:, 0], images[:30])
    assert torch.equal(found.y, labels[:30].long())


def test_the_folder_of_torchvision_is_found(tmp_path):
    fill(tmp_path / "FashionMNIST" / "raw", packed=False)
    assert len(load(tmp_path).train) == 2


def test_debians_package_is_found(tmp_path):
    fill(tmp_path / "debian", packed=True)
    assert len(load(tmp_path / "nowhere").train) == 2


def test_a_missing_folder_without_download_names_what_works_offline(tmp_path):
    with pytest.raises(BadInput, match=r"download=false; dataset=digits works offline"):
        load(tmp_path / "nowhere")


def test_a_failed_download_names_what_works_offline(tmp_path, monkeypatch):
    def unreachable(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.FashionMNIST", unreachable)
    with pytest.raises(BadInput, match=r"no route to host.*dataset=digits works offline"):
        load(tmp_path / "nowhere", download=True)


def test_a_missing_file_is_named(tmp_path):
    fill(tmp_path, packed=True)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(BadInput, match="lacks t10k-labels-idx1-ubyte"):
        load(tmp_path)


DAMAGE = {
    "truncated": lambda raw: raw[:-5],
    "too long": lambda raw: raw + b"x",
    "empty": lambda raw: b"",
    "header only": lambda raw: raw[:3],
    "other rank": lambda raw: raw[:3] + b"\x09" + raw[4:],
    "other size": lambda raw: raw[:7] + b"\x05" + raw[8:],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_of_wrong_content_is_refused_by_name(tmp_path, damage, packed):
    fill(tmp_path, packed)
    path = tmp_path / f"train-images-idx3-ubyte{'.gz' * packed}"
    path.write_bytes(gzip.compress(damage(idx(IMAGES))) if packed else damage(idx(IMAGES)))
    with pytest.raises(BadInput, match=rf"{re.escape(str(path))} is damaged"):
        load(tmp_path)


PACKED = gzip.compress(idx(IMAGES))
BROKEN = {
    "truncated": PACKED[:-12],
    "no gzip": idx(IMAGES),
    "other checksum": PACKED[:-8] + bytes([PACKED[-8] ^ 1]) + PACKED[-7:],
}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN)
def test_a_damaged_archive_is_refused_by_name(tmp_path, raw):
    fill(tmp_path, packed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(raw)
    with pytest.raises(BadInput, match=rf"{re.escape(str(path))} is damaged"):
        load(tmp_path)
