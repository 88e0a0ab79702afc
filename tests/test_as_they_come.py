"""People's folders on the whole route: what cannot be worked with is refused before the fit."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from antidote.engine import stages

SMALL = [
    *("dataset=image_folder", "dataset.size=11", "dataset.channels=1", "threads=1"),
    *("dataset.augment.padding=1", "dataset.augment.flip=0", "model.net.width=0.125"),
    *("recipe.epochs=1", "recipe.batch_size=64", "discovery.share=0.5", "poison_rate=0.1"),
]


def folder(root, counts):
    """`counts` of digits by class: how many for training; three of each for testing."""
    digits = load_digits()
    for k, (name, n) in enumerate(counts.items()):
        images = digits.images[digits.target == k]
        for part, some in (("train", images[:n]), ("test", images[n : n + 3])):
            (root / part / name).mkdir(parents=True)
            for i, image in enumerate(some):
                pixels = (image * 255 / 16).astype("uint8").repeat(2, 0).repeat(2, 1)
                Image.fromarray(pixels).save(root / part / name / f"{i:03}.png")
    return f"dataset.folder={root}"


@pytest.fixture
def fitted(monkeypatch):
    """Sizes of the batches that a victim was fitted on."""
    sizes, fit = [], stages.fit

    def spy(make, victim, loader, callbacks, steps, seed):
        sizes.extend(len(y) for _, y in loader.with_()) if steps else None
        return fit(make, victim, loader, callbacks, steps, seed)

    monkeypatch.setattr(stages, "fit", spy)
    return sizes


@pytest.mark.parametrize("n", [32, 33, 34])
@pytest.mark.parametrize("method", ["none", "retrain", "finetune", "scrub", "neggrad", "relabel"])
def test_a_last_image_that_is_alone_ends_no_fit(run, tmp_path, fitted, n, method):
    said = folder(tmp_path / "lone", {"a": n, "b": 32})
    left = run(*SMALL, said, f"unlearning={method}", small=[])
    assert left["status"] == "ok"
    assert fitted == {32: [64], 33: [65], 34: [64, 2]}[n]


@pytest.mark.parametrize("method", ["none", "finetune", "xlf"])
def test_batches_of_one_are_refused_before_the_fit(run, tmp_path, fitted, method):
    said = folder(tmp_path / "few", {"a": 6, "b": 6})
    with pytest.raises(SystemExit, match=r"recipe.batch_size=1 of 12 .* ResNet9 cannot be trained"):
        run(*SMALL, said, "recipe.batch_size=1", f"unlearning={method}", small=[])
    assert not list(tmp_path.glob("output/store/victims/*.safetensors"))


def test_batches_of_one_are_taken_where_nothing_is_fitted_on_them(run, tmp_path):
    said = folder(tmp_path / "few", {"a": 6, "b": 6})
    first = run(*SMALL, said, "unlearning=none", small=[])
    brought = f"victim={first.folder}/victim.safetensors"
    assert (
        run(*SMALL, said, brought, "recipe.batch_size=1", "unlearning=xlf", small=[])["status"]
        == "ok"
    )


@pytest.mark.parametrize("chosen", [[], ["poison=none"]])
def test_one_class_only_is_refused_before_the_fit(run, tmp_path, fitted, chosen):
    said = folder(tmp_path / "one", {"cat": 20})
    with pytest.raises(
        SystemExit, match="20 training samples are of one class, cat; there must be"
    ):
        run(*SMALL, said, *chosen, "unlearning=none", small=[])
    assert not fitted


def test_a_limit_that_keeps_one_class_is_refused(run, tmp_path):
    said = folder(tmp_path / "two", {"cat": 9, "dog": 9})
    with pytest.raises(SystemExit, match=r"all 1 training samples .* raise dataset\.limit"):
        run(*SMALL, said, "dataset.limit=1", "unlearning=none", small=[])


def test_a_limit_keeps_all_classes(run, tmp_path, caplog):
    said = folder(tmp_path / "three", {"a": 40, "b": 40, "c": 40})
    with caplog.at_level(logging.INFO):
        run(*SMALL, said, "dataset.limit=40", "unlearning=none", small=[])
    assert "40 training images by class: a 14, b 13, c 13" in caplog.text


@pytest.mark.parametrize("precision", ["16-true", "bf16-true"])
def test_half_precision_of_the_weights_is_refused_before_data_are_read(
    run, small, monkeypatch, precision
):
    from antidote.engine import source

    monkeypatch.setattr(source, "load", lambda *a: pytest.fail("data were read"))
    with pytest.raises(SystemExit, match=rf"trainer\.precision={precision} keeps the weights"):
        run("unlearning=none", f"trainer.precision={precision}")


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed", "16-mixed", "64", "16"])
@pytest.mark.parametrize("method", ["finetune", "xlf_ptn"])
def test_other_precisions_go_the_whole_route(run, small, precision, method):
    left = run(f"unlearning={method}", f"trainer.precision={precision}", "dataset.limit=200")
    assert left["status"] == "ok"


def test_labels_beyond_the_classes_are_refused(run, tmp_path):
    path = tmp_path / "x.npz"
    x = np.zeros((12, 11, 11), "uint8")
    np.savez(path, x_train=x, y_train=np.arange(12) % 2, x_test=x, y_test=np.arange(12) % 3)
    with pytest.raises(SystemExit, match="no training image of class 2"):
        run("dataset=arrays", f"dataset.train={path}", "unlearning=none")


def test_images_without_channels_in_common_are_named_in_the_refusal(run, tmp_path):
    said = folder(tmp_path / "tiny", {"a": 9, "b": 9})
    with pytest.raises(SystemExit, match=r"ResNet9 cannot take images of shape \(1, 8, 30\)"):
        run(*SMALL, said, "dataset.size=[8,30]", "unlearning=none", small=[])


def test_images_that_are_no_squares_go_the_whole_route(run, tmp_path):
    said = folder(tmp_path / "oblong", {"a": 20, "b": 20})
    left = run(
        *SMALL, said, "dataset.size=[12,20]", "dataset.fit=pad", "unlearning=xlf_ptn", small=[]
    )
    assert left["status"] == "ok"
    with np.load(left.folder / "samples.npz") as stored:
        assert stored["clean test/images"].shape[1:] == (1, 12, 20)


def test_normalisation_of_ones_own_is_the_nets(run, tmp_path):
    from safetensors.torch import load_file

    said = folder(tmp_path / "own", {"a": 20, "b": 20})
    left = run(
        *SMALL, said, "dataset.mean=[0.5]", "dataset.std=[0.25]", "unlearning=none", small=[]
    )
    found = load_file(left.folder / "victim.safetensors")
    assert torch.equal(found["normalize.mean"].flatten(), torch.tensor([0.5]))
    assert torch.equal(found["normalize.std"].flatten(), torch.tensor([0.25]))


def test_without_a_test_part_one_is_held_out_whatever_the_seed_of_the_run(run, tmp_path):
    import shutil

    said = folder(tmp_path / "whole", {"a": 20, "b": 20})
    shutil.rmtree(tmp_path / "whole/test")
    kept = [
        np.load(run(*SMALL, said, f"seed={s}", "unlearning=none", small=[]).folder / "samples.npz")
        for s in (0, 1)
    ]
    assert all((one["clean test/images"] == kept[0]["clean test/images"]).all() for one in kept)
