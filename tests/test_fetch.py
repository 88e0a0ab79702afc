"""Data sets that torchvision fetches: what is said without them, and what a download leaves."""

import gzip
import hashlib
import shutil
import socket
import tarfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import archives
import pytest
import torch

from antidote.core import BadInput
from antidote.dataset import cifar, imagenette, pcam

NOTHING_ELSE = {"augment": None, "limit": None}
LOAD = {
    "CIFAR10": lambda f, d: cifar.cifar10(f, statistics="own", download=d, **NOTHING_ELSE),
    "CIFAR100": lambda f, d: cifar.cifar100(f, statistics="own", download=d, **NOTHING_ELSE),
    "PCAM": lambda f, d: pcam.pcam(f, None, "own", False, None, download=d, **NOTHING_ELSE),
    "Imagenette": lambda f, d: imagenette.imagenette(
        f, "160px", 16, False, None, download=d, **NOTHING_ELSE
    ),
}
WRITE = {
    "CIFAR10": archives.cifar10,
    "CIFAR100": archives.cifar100,
    "PCAM": lambda folder: archives.pcam(folder / "pcam"),
    "Imagenette": archives.imagenette,
}
NAMES = list(LOAD)


@pytest.fixture(autouse=True)
def sums():
    yield
    archives.sums.undo()


@pytest.fixture
def no_network(monkeypatch):
    def unreachable(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr(socket.socket, "connect", unreachable)


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A folder and its address on a web server of this machine."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "shop"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=folder)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def one_sentence(error) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert not text.endswith(".")
    assert ". " not in text
    return text


@pytest.mark.parametrize("name", NAMES)
def test_without_archive_and_download_one_sentence_names_folder_and_way_out(tmp_path, name):
    with pytest.raises(BadInput) as error:
        LOAD[name](str(tmp_path / "nowhere"), False)
    text = one_sentence(error)
    assert text.startswith(f"no {name} in {tmp_path / 'nowhere'} and dataset.download=false")
    assert "dataset=digits works offline" in text
    assert "dataset=fashion_mnist" in text


@pytest.mark.parametrize("name", NAMES)
def test_without_archive_and_network_one_sentence_names_folder_and_way_out(
    tmp_path, no_network, name
):
    with pytest.raises(BadInput) as error:
        LOAD[name](str(tmp_path / "nowhere"), True)
    text = one_sentence(error)
    assert text.startswith(f"no {name} in {tmp_path / 'nowhere'} and its download failed (")
    assert "dataset=digits works offline" in text


def serve(name, shop, address, monkeypatch):
    """Puts an archive into the shop, where torchvision then looks for it."""
    from torchvision import datasets

    tree = WRITE[name](shop)
    kind = getattr(datasets, name)
    if name == "PCAM":
        monkeypatch.setattr(
            "torchvision.datasets.pcam.download_file_from_google_drive",
            lambda _, folder, filename, md5: pack(tree / filename[:-3], folder, filename),
        )
        return
    packed = shop / f"{tree.name}.tgz"
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(tree, tree.name)
    md5 = hashlib.md5(packed.read_bytes()).hexdigest()
    if name == "Imagenette":
        monkeypatch.setattr(kind, "_ARCHIVES", {"160px": (f"{address}/{packed.name}", md5)})
    else:
        monkeypatch.setattr(kind, "url", f"{address}/{packed.name}")
        monkeypatch.setattr(kind, "tgz_md5", md5)


def pack(path, folder, filename):
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / filename).write_bytes(gzip.compress(path.read_bytes()))


@pytest.mark.parametrize("name", NAMES)
def test_a_download_is_as_good_as_an_archive_that_is_there(tmp_path, shop, monkeypatch, name):
    serve(name, *shop, monkeypatch)
    there = LOAD[name](str(shop[0]), False)
    home = tmp_path / "home"
    fetched = LOAD[name](str(home), True)
    assert torch.equal(fetched.train.x, there.train.x)
    assert torch.equal(fetched.test.y, there.test.y)
    assert not (home / ".download").exists()
    assert not list(home.rglob("*.gz"))


@pytest.mark.parametrize("name", NAMES)
def test_what_an_interrupted_download_left_is_not_taken_for_data(tmp_path, shop, monkeypatch, name):
    serve(name, *shop, monkeypatch)
    shutil.copytree(shop[0], tmp_path / "home/.download")
    for path in (tmp_path / "home/.download").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    assert len(LOAD[name](str(tmp_path / "home"), True).train)


@pytest.mark.parametrize("name", NAMES)
def test_an_archive_that_is_there_needs_no_network(tmp_path, no_network, name):
    WRITE[name](tmp_path)
    assert len(LOAD[name](str(tmp_path), True).train)


def test_another_job_may_have_been_faster(tmp_path):
    from antidote.dataset.fetch import fetched

    (tmp_path / "tree").mkdir()
    fetched(tmp_path / "tree", "Tree", True, lambda half: pytest.fail("fetched twice"))
