"""The fingerprint of data: that of their bytes, looked up as long as no file has changed."""

import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from antidote.core import Data, Samples
from antidote.dataset.augment import CropFlip
from antidote.engine import source
from antidote.engine.cell import Cell
from antidote.engine.store import Store

CPU = torch.device("cpu")
MODULE = '''
import pathlib
import numpy as np
import torch
from antidote.core import Samples
from antidote.dataset.images import image_data

def read(augment, where=None):
    """Reads a file that no setting names."""
    x = torch.from_numpy(np.load(pathlib.Path(__file__).with_name("hidden.npy")))
    y = torch.arange(len(x)) % 2
    return image_data(Samples(x, y), Samples(x, y), ("a", "b"), augment, None)
'''


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture(autouse=True)
def nothing_at_hand():
    source._last.clear()


def cell(**settings):
    augment = {"_target_": "antidote.dataset.augment.CropFlip", "padding": 1, "flip": 0.0}
    whole = {"dataset": {"augment": augment} | settings}
    return Cell(whole, whole, {}, ())


def loaded(cell, store):
    """(fingerprint, whether the data were read for it)"""
    source._last.clear()
    reads = []
    built = Cell.build

    def build(self, group):
        reads.append(group)
        return built(self, group)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cell, "build", build)
        known = source.known(cell, store)
        return source.load(cell, store, CPU)[1], known is None


def picture(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8), "uint8")).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes of three images, and as many for testing."""
    root = tmp_path / "images"
    for part in ("train", "test"):
        for k, name in enumerate("ab"):
            for i in range(3):
                picture(root / part / name / f"{i}.png", 10 * k + i)
    return root


def folder_cell(root):
    target = "antidote.dataset.image_folder.image_folder"
    return cell(_target_=target, folder=str(root), size=8, channels=1, limit=None)


def test_data_are_read_once_and_then_known(folder, store):
    first, again = (loaded(folder_cell(folder), store) for _ in range(2))
    assert first[1] is True
    assert again == (first[0], False)


def moved(root):
    (root / "train/a/2.png").rename(root / "train/b/9.png")


def rewritten(root):
    picture(root / "train/a/0.png", 99)


def rewritten_with_the_old_time(root):
    about = (root / "test/b/1.png").stat()
    Image.new("L", (8, 8), 7).save(root / "test/b/1.png")  # smaller
    os.utime(root / "test/b/1.png", ns=(about.st_atime_ns, about.st_mtime_ns))


@pytest.mark.parametrize("change", [moved, rewritten, rewritten_with_the_old_time])
def test_a_change_of_what_is_there_gives_another_fingerprint(folder, store, change):
    before, _ = loaded(folder_cell(folder), store)
    change(folder)
    after, read = loaded(folder_cell(folder), store)
    assert read
    assert after != before


def test_an_image_that_takes_the_place_of_another_gives_another_fingerprint(folder, store):
    """As many images in all, the same names but one."""
    before, _ = loaded(folder_cell(folder), store)
    (folder / "train/a/2.png").unlink()
    picture(folder / "train/b/3.png", 50)
    assert loaded(folder_cell(folder), store)[0] != before


def test_a_change_behind_a_link_gives_another_fingerprint(folder, store, tmp_path):
    (folder / "train/b").rename(tmp_path / "b")
    (folder / "train/b").symlink_to(tmp_path / "b")
    before, _ = loaded(folder_cell(folder), store)
    assert loaded(folder_cell(folder), store) == (before, False)
    picture(tmp_path / "b/1.png", 99)
    after, read = loaded(folder_cell(folder), store)
    assert read
    assert after != before


def test_other_names_are_other_data_since_samples_are_named_by_them(folder, store):
    before, _ = loaded(folder_cell(folder), store)
    (folder / "train/a/1.png").rename(folder / "train/a/1b.png")  # in the same place
    after, read = loaded(folder_cell(folder), store)
    assert read
    assert after != before


def test_the_same_bytes_elsewhere_have_the_same_fingerprint(folder, store, tmp_path):
    before, _ = loaded(folder_cell(folder), store)
    shutil.copytree(folder, tmp_path / "elsewhere")
    after, read = loaded(folder_cell(tmp_path / "elsewhere"), store)
    assert (after, read) == (before, True)


def test_a_file_that_no_setting_names_is_watched_too(store, tmp_path, monkeypatch):
    (tmp_path / "hidden_reader.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    hidden = cell(_target_="hidden_reader.read")
    np.save(tmp_path / "hidden.npy", np.zeros((4, 1, 8, 8), "uint8"))
    before, _ = loaded(hidden, store)
    assert loaded(hidden, store) == (before, False)
    np.save(tmp_path / "hidden.npy", np.ones((6, 1, 8, 8), "uint8"))
    after, read = loaded(hidden, store)
    assert read
    assert after != before


def test_a_folder_that_a_setting_names_is_watched_even_if_python_does_not_open_it(
    store, tmp_path, monkeypatch
):
    """Some libraries open files in C, where Python does not see it."""
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/x.h5").write_text("1")
    np.save(tmp_path / "hidden.npy", np.zeros((4, 1, 8, 8), "uint8"))
    (tmp_path / "hidden_reader.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    named = cell(_target_="hidden_reader.read", where=str(tmp_path / "deep"))
    found, _ = loaded(named, store)
    assert loaded(named, store) == (found, False)
    (tmp_path / "deep/er/x.h5").write_text("22")
    assert loaded(named, store) == (found, True)  # read again; its bytes are the same


@pytest.mark.parametrize("end", ["npz", "safetensors", "npy"])
def test_a_change_of_arrays_gives_another_fingerprint(store, tmp_path, end):
    pixels, labels = np.zeros((8, 4, 4), "uint8"), np.arange(8) % 2

    def write():
        held = {"x": torch.from_numpy(pixels), "y": torch.from_numpy(labels)}
        if end == "safetensors":
            save_file(held, tmp_path / "x.safetensors")
            return str(tmp_path / "x.safetensors")
        if end == "npz":
            np.savez(tmp_path / "x.npz", x=pixels, y=labels)
            return str(tmp_path / "x.npz")
        for name, array in (("x", pixels), ("y", labels)):
            np.save(tmp_path / f"{name}.npy", array)
        return [str(tmp_path / f"{name}.npy") for name in "xy"]

    rest = dict.fromkeys(("test", "layout", "classes", "mean", "std", "limit"))
    own = {"x": "x", "y": "y", "test_share": 0.5, "seed": 0, **rest, "train": write()}
    mine = cell(_target_="antidote.dataset.arrays.arrays", **own)
    before, _ = loaded(mine, store)
    assert loaded(mine, store) == (before, False)
    pixels[:, 0, 0] = 9
    write()
    after, read = loaded(mine, store)
    assert read
    assert after != before


def test_other_settings_that_give_the_same_bytes_are_the_same_data(folder, store):
    whole, limited = folder_cell(folder), folder_cell(folder)
    limited.settings["dataset"]["limit"] = 6
    assert loaded(whole, store)[0] == loaded(limited, store)[0]


def data(augment=None, flip=0):
    x = torch.arange(48, dtype=torch.uint8).view(3, 1, 4, 4)
    x[0, 0, 0, 0] = flip
    part = Samples(x, torch.tensor([0, 1, 1]))
    facts = {"mean": torch.tensor([0.5]), "std": torch.tensor([0.5])}
    return Data(part, part, ("a", "b"), augment or CropFlip(1, 0.0), facts)


def test_one_bit_or_another_augmentation_changes_the_fingerprint():
    prints = [data(), data(flip=1), data(CropFlip(2, 0.0)), data(CropFlip(1, 0.5))]
    assert len({source.fingerprint_of(d) for d in prints}) == 4
    assert source.fingerprint_of(data()) == source.fingerprint_of(data())


def test_without_a_store_the_data_are_read_each_time(folder, tmp_path):
    off = Store(tmp_path / "store", "off")
    assert [loaded(folder_cell(folder), off)[1] for _ in range(2)] == [True, True]
    assert not (tmp_path / "store").exists()


def test_a_process_reads_the_same_data_once(folder, store, monkeypatch):
    here = folder_cell(folder)
    first, _ = source.load(here, store, CPU)
    monkeypatch.setattr(Cell, "build", lambda *a: pytest.fail("read again"))
    assert source.load(here, store, CPU)[0] is first
