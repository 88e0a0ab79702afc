"""Arrays of one's own: every kind of file, shape and type that is taken, and what is refused."""

import logging

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from antidote.core import BadInput
from antidote.dataset.arrays import arrays

COIN = np.random.default_rng(0)
X = COIN.integers(0, 256, (30, 6, 8, 3), dtype=np.uint8)
Y = np.arange(30) % 3
SETTINGS = {
    **dict.fromkeys(("test", "layout", "classes", "mean", "std", "limit", "augment")),
    "x": "x",
    "y": "y",
    "test_share": 0.2,
    "seed": 0,
}


def load(train, **how):
    def told(files):
        return (
            files
            if files is None
            else list(map(str, files))
            if isinstance(files, list)
            else str(files)
        )

    how = SETTINGS | how
    return arrays(told(train), **how | {"test": told(how["test"])})


def npz(path, **held):
    np.savez(path, **held)
    return path


@pytest.fixture
def file(tmp_path):
    return npz(tmp_path / "train.npz", x=X, y=Y)


@pytest.fixture
def other(tmp_path):
    return npz(tmp_path / "other.npz", x=X[::-1][:9], y=Y[::-1][:9])


def nchw(x):
    return torch.from_numpy(x.copy()).permute(0, 3, 1, 2)


def is_all(data, x=X, y=Y):
    """Whether these are the training images and labels."""
    return torch.equal(data.train.x, nchw(x)) and data.train.y.tolist() == y.tolist()


def test_two_files_are_training_and_test_part(file, other):
    data = load(file, test=other)
    assert is_all(data)
    assert torch.equal(data.test.x, nchw(X[::-1][:9]))
    assert data.test.y.tolist() == Y[::-1][:9].tolist()
    assert data.classes == ("0", "1", "2")
    assert (data.train.x.dtype, data.train.y.dtype) == (torch.uint8, torch.int64)


@pytest.mark.parametrize("form", ["{name}_{part}", "{part}_{name}"])
def test_one_file_may_hold_both_parts(tmp_path, form):
    names = {
        form.format(name=name, part=part): array
        for part, arrays in (("train", (X, Y)), ("test", (X[:6], Y[:6])))
        for name, array in zip(("images", "labels"), arrays, strict=True)
    }
    data = load(npz(tmp_path / "all.npz", **names), x="images", y="labels")
    assert is_all(data)
    assert len(data.test) == 6


def test_a_pair_of_npy_files_is_a_part(tmp_path, other):
    np.save(tmp_path / "a.npy", X)
    np.save(tmp_path / "b.npy", Y)
    assert is_all(load([tmp_path / "a.npy", tmp_path / "b.npy"], test=other))


def test_safetensors_are_read(tmp_path, other):
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.from_numpy(X), "y": torch.from_numpy(Y)}, path)
    assert is_all(load(path, test=other))


def test_without_a_test_part_a_share_of_each_class_is_held_out(file, caplog):
    with caplog.at_level(logging.INFO):
        data = load(file)
    assert data.train.y.bincount().tolist() == [8] * 3
    assert data.test.y.bincount().tolist() == [2] * 3
    assert "no test part: 6 of 30 images are held out" in caplog.text
    assert "24 training images of 3x6x8 by class: 0 8, 1 8, 2 8" in caplog.text
    assert "6 test images of 3x6x8 by class: 0 2, 1 2, 2 2" in caplog.text


@pytest.mark.parametrize(
    ("x", "shape"),
    [
        (X[..., 0], (30, 1, 6, 8)),
        (X[..., :1], (30, 1, 6, 8)),
        (X, (30, 3, 6, 8)),
        (np.moveaxis(X, 3, 1), (30, 3, 6, 8)),
    ],
)
def test_the_shape_tells_where_the_channels_are(tmp_path, x, shape):
    data = load(npz(tmp_path / "x.npz", x_train=x, y_train=Y, x_test=x, y_test=Y))
    assert tuple(data.train.x.shape) == shape
    assert data.train.x.is_contiguous()
    channels = shape[1]
    assert torch.equal(data.train.x, nchw(X[..., :channels]))


@pytest.mark.parametrize("n", [3, 7])
def test_a_shape_that_does_not_tell_asks_for_the_layout(tmp_path, n):
    x = COIN.integers(0, 256, (9, n, 8, n), dtype=np.uint8)
    path = npz(tmp_path / "x.npz", x=x, y=Y[:9])
    with pytest.raises(BadInput, match=rf"\(9, {n}, 8, {n}\) does not tell .*dataset.layout=NHWC"):
        load(path)
    assert load(path, layout="NHWC").train.x.shape[1:] == (n, n, 8)
    assert load(path, layout="NCHW").train.x.shape[1:] == (n, 8, n)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", ">f4"])
def test_floats_in_0_to_1_are_taken_as_they_are(tmp_path, kind):
    x = (X / 255).astype(kind)
    data = load(npz(tmp_path / "x.npz", x_train=x, y_train=Y, x_test=x, y_test=Y))
    assert data.train.x.dtype == torch.float32
    assert torch.equal(data.train.x, nchw(x.astype("float32")))
    pixels = x.astype("float64")
    expected = pixels.mean((0, 1, 2)), pixels.std((0, 1, 2))
    for name, numbers in zip(("mean", "std"), expected, strict=True):
        assert data.facts[name].tolist() == pytest.approx(numbers.tolist(), rel=1e-4)


def test_bytes_and_floats_together_are_floats(tmp_path):
    data = load(npz(tmp_path / "x.npz", x_train=X, y_train=Y, x_test=X / 255, y_test=Y))
    assert torch.allclose(data.train.x, data.test.x)


@pytest.mark.parametrize("y", [Y.astype("int8"), Y.astype(">i4"), Y.astype("uint64"), Y[:, None]])
def test_labels_of_any_whole_type_are_taken(tmp_path, other, y):
    assert is_all(load(npz(tmp_path / "y.npz", x=X, y=y), test=other))


def test_classes_may_have_names(file):
    assert load(file, classes=["cat", "dog", 7]).classes == ("cat", "dog", "7")


def test_a_limit_keeps_the_first_rows(file, other):
    assert is_all(load(file, test=other, limit=5), X[:5], Y[:5])


def test_normalisation_may_be_given(file):
    assert load(file, mean=0.5, std=[0.1, 0.2, 0.3]).facts["std"].tolist() == pytest.approx(
        [0.1, 0.2, 0.3]
    )


ODD = {
    "dataset.train=null names no file": None,
    r"x\.csv is no \.npz, \.safetensors or \.npy file": "x.csv",
    "gone.npz is not a file": "gone.npz",
}


@pytest.mark.parametrize("why", ODD)
def test_a_file_that_is_none_is_refused(tmp_path, why):
    with pytest.raises(BadInput, match=why):
        load(ODD[why] and tmp_path / ODD[why])


@pytest.mark.parametrize("name", ["x.npz", "x.safetensors", "x.npy"])
def test_a_damaged_file_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(BadInput, match=f"{name} cannot be read as arrays"):
        load(tmp_path / name)


def test_one_npy_file_alone_is_no_part(tmp_path):
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(BadInput, match=r"holds one array, .*\[x\.npy,y\.npy\]"):
        load(tmp_path / "x.npy")


def test_objects_are_not_unpickled(tmp_path):
    path = npz(tmp_path / "x.npz", x=X, y=np.array([object()] * 30))
    with pytest.raises(BadInput, match=r"x\.npz cannot be read as arrays \(Object arrays"):
        load(path)


FULL = np.zeros((30, 4, 4, 3))
REFUSED = {
    "no numbers called y .*only x, z": {"x": X, "z": Y},
    "no numbers called y .*only x;": {"x": X, "y": Y.astype(str)},
    "30 images and 29 labels": {"x": X, "y": Y[:-1]},
    "0 images and 0 labels": {"x": X[:0], "y": Y[:0]},
    r"\(30, 48\) is no shape of images": {"x": FULL.reshape(30, -1), "y": Y},
    "images of int64 are neither bytes": {"x": X.astype("int64"), "y": Y},
    "these go from 0 to 255": {
        "x": np.where(FULL == 0, 0.0, 1.0) + X[:, :4, :4] // 200 * 255,
        "y": Y,
    },
    "must be finite": {"x": FULL * np.nan, "y": Y},
    "go from -1 to ": {"x": FULL - 1, "y": Y},
    r"labels of float64 and shape \(30,\)": {"x": X, "y": Y / 1},
    r"labels of int64 and shape \(30, 3\)": {"x": X, "y": np.eye(3, dtype=int)[Y]},
    "labels go down to -1": {"x": X, "y": Y - 1},
    "no training image of class 0;": {"x": X, "y": Y + 1},
    "no training image of class 2;": {"x": X, "y": np.where(Y == 2, 3, Y)},
    "labels go up to 1002, but there are 30": {"x": X, "y": Y + 1000},
}


@pytest.mark.parametrize("why", REFUSED)
def test_arrays_that_cannot_be_meant_are_refused_in_one_sentence(tmp_path, why):
    with pytest.raises(BadInput, match=why) as said:
        load(npz(tmp_path / "x.npz", **REFUSED[why]))
    assert "\n" not in str(said.value)


def test_a_test_part_of_another_shape_is_refused(file, tmp_path):
    grey = npz(tmp_path / "grey.npz", x=X[..., 0], y=Y)
    with pytest.raises(BadInput, match=r"\(3, 6, 8\) and test images \(1, 6, 8\)"):
        load(file, test=grey)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"classes": ["a", "b"]}, "names 2 classes, but labels go up to 2"),
        ({"classes": list("abcd")}, "no training image of class d"),
        ({"classes": ["a", "b", "a"]}, "has a name twice"),
        ({"layout": "HWC"}, "dataset.layout=HWC is neither NHWC nor NCHW"),
        ({"test_share": 0}, "dataset.test_share=0 is not in"),
        ({"limit": 0}, "dataset.limit=0 keeps no training sample"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(file, how, why):
    with pytest.raises(BadInput, match=why):
        load(file, **how)
