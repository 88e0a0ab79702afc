"""Flat files of decoded images: when they are made, made again, and trusted."""

import multiprocessing
import os
import signal

import pytest
import torch
from PIL import Image

from antidote.core import BadInput
from antidote.dataset import mapped
from antidote.dataset.image_folder import image_folder
from antidote.dataset.mapped import Encoded, decode, open_mapped, place

X = torch.randint(256, (10, 3, 4, 5), generator=torch.Generator().manual_seed(0)).byte()


class Source:
    """Images in three chunks; counts how often they were decoded."""

    def __init__(self, x=X, origin="here"):
        self.x, self.origin, self.decoded = x, origin, 0

    def chunks(self):
        self.decoded += 1
        # as HDF5 and Pillow give them: channels last in memory
        yield from self.x.contiguous(memory_format=torch.channels_last).split(4)

    @property
    def encoded(self):
        return Encoded(tuple(self.x.shape), self.origin, self.chunks)


@pytest.mark.parametrize("mapped", [False, True])
def test_the_images_are_the_same_in_memory_and_in_a_file(tmp_path, mapped):
    x = decode(Source().encoded, tmp_path / "decoded" if mapped else None)
    assert torch.equal(x, X)
    assert x.is_contiguous()


def test_images_are_decoded_once(tmp_path):
    source = Source()
    for _ in range(3):
        decode(source.encoded, tmp_path)
    assert source.decoded == 1


@pytest.mark.parametrize("change", [{"origin": "there"}, {"x": X.view(10, 3, 5, 4)}, {"x": X[:9]}])
def test_another_origin_or_shape_is_decoded_anew_beside_the_first(tmp_path, change):
    first = decode(Source().encoded, tmp_path)
    other = Source(**change)
    assert torch.equal(decode(other.encoded, tmp_path), other.x)
    assert other.decoded == 1
    assert torch.equal(first, X)


def test_a_file_cut_short_is_decoded_again(tmp_path):
    decode(Source().encoded, tmp_path)
    (path,) = tmp_path.glob("*.u8")
    os.truncate(path, 100)
    assert torch.equal(decode(Source().encoded, tmp_path), X)


class Killed(Source):
    def chunks(self):
        yield self.x[:4]
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_leaves_nothing_that_is_trusted(tmp_path):
    fork = multiprocessing.get_context("fork")
    process = fork.Process(target=decode, args=(Killed().encoded, tmp_path))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert not list(tmp_path.glob("*.u8"))
    assert torch.equal(decode(Source().encoded, tmp_path), X)
    assert not list(tmp_path.glob("*.half"))


def test_an_image_that_cannot_be_read_leaves_no_file(tmp_path):
    class Unreadable(Source):
        def chunks(self):
            yield self.x[:4]
            raise BadInput("a.png cannot be read")

    with pytest.raises(BadInput, match="cannot be read"):
        decode(Unreadable().encoded, tmp_path)
    assert not list(tmp_path.glob("*.u8"))


def test_writing_into_a_mapped_tensor_does_not_reach_the_file(tmp_path):
    decode(Source().encoded, tmp_path).zero_()
    assert torch.equal(decode(Source().encoded, tmp_path), X)


def test_rows_of_a_mapped_tensor_are_a_view(tmp_path):
    x = decode(Source().encoded, tmp_path)
    assert x[:3].data_ptr() == x.data_ptr()


def test_more_than_the_machine_has_memory_can_be_mapped(tmp_path):
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    path, row = tmp_path / "sparse.u8", 2**20
    rows = 3 * memory // row
    with path.open("wb") as file:
        file.truncate(rows * row)  # takes no room on the disk
    x = open_mapped(path, (rows, row))
    assert x[-1].sum() == 0
    assert x.numel() > 2 * memory


def test_a_full_disk_is_one_sentence_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 7}))
    with pytest.raises(BadInput, match=r"take 0\.0 GB but .* has 0\.0 GB free; make room or let"):
        decode(Source().encoded, tmp_path)
    assert not list(tmp_path.glob("*.[uh]*8"))


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"cannot be written to .*/file/decoded"):
        decode(Source().encoded, tmp_path / "file/decoded")


def test_a_memory_map_needs_a_folder():
    assert place(False, "decoded") is None
    with pytest.raises(BadInput, match=r"memory_map=true needs dataset\.decoded"):
        place(True, None)


@pytest.fixture
def folder(tmp_path):
    for part, colour in (("train", (255, 0, 0)), ("test", (0, 255, 0))):
        (tmp_path / part / "cat").mkdir(parents=True)
        Image.new("RGB", (6, 6), colour).save(tmp_path / part / "cat/a.bmp")
    return tmp_path


def load(folder, size=6, channels=3):
    decoded = str(folder / "decoded")
    return image_folder(str(folder), size, channels, None, None, memory_map=True, decoded=decoded)


def test_a_folder_of_images_is_mapped(folder):
    data = load(folder)
    assert data.train.x[0, :, 0, 0].tolist() == [255, 0, 0]
    assert data.test.x[0, :, 0, 0].tolist() == [0, 255, 0]
    assert len(list(folder.glob("decoded/*.u8"))) == 2


def test_a_changed_image_of_the_same_size_is_decoded_again(folder):
    load(folder)
    path = folder / "train/cat/a.bmp"
    before = path.stat()
    Image.new("RGB", (6, 6), (0, 0, 255)).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert path.stat().st_size == before.st_size
    assert load(folder).train.x[0, :, 0, 0].tolist() == [0, 0, 255]


def test_a_new_image_another_size_and_other_channels_are_decoded(folder):
    load(folder)
    Image.new("RGB", (6, 6), (0, 0, 255)).save(folder / "train/cat/b.png")
    assert load(folder).train.x.shape == (2, 3, 6, 6)
    assert load(folder, size=5).train.x.shape == (2, 3, 5, 5)
    assert load(folder, channels=1).train.x.shape == (2, 1, 6, 6)
