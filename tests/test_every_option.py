"""Every option of every group goes the whole route: a new YAML file is tested by existing."""

import gzip
from pathlib import Path

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from numpy.random import default_rng
from PIL import Image

ROOT = Path(__file__).parents[1]
OPTIONS = sorted(p.relative_to(ROOT / "conf").with_suffix("").as_posix() for p in (ROOT / "conf").glob("*/*.yaml"))
SHORT = ["dataset=digits", "recipe.epochs=null", "recipe.steps=10", "progress=false"]
EASY = ["poison.rate=0.1", "poison.target_class=1"]


def fashion_files(folder: Path) -> list[str]:
    """Fashion-MNIST's four files with 40 and 20 images of noise, where the loader looks first."""
    (folder / "data/fashion-mnist").mkdir(parents=True)
    for part, n in (("train", 40), ("t10k", 20)):
        pixels, labels = default_rng(0).bytes(n * 28 * 28), bytes(range(10)) * (n // 10)
        for kind, sizes, content in (("images-idx3", (n, 28, 28), pixels), ("labels-idx1", (n,), labels)):
            head = bytes([0, 0, 8, len(sizes)]) + b"".join(size.to_bytes(4, "big") for size in sizes)
            path = folder / f"data/fashion-mnist/{part}-{kind}-ubyte.gz"
            path.write_bytes(gzip.compress(head + content))
    return EASY


def class_folders(folder: Path) -> list[str]:
    """Two classes of coloured noise, of several sizes and formats."""
    for part, n in (("train", 10), ("test", 4)):
        for k, name in enumerate(("cat", "dog")):
            (folder / "images" / part / name).mkdir(parents=True)
            for i in range(n):
                pixels = default_rng(i).integers(0, 256, (20 + i, 24, 3), "uint8") // (k + 1)
                Image.fromarray(pixels).save(folder / "images" / part / name / f"{i}.{('png', 'jpg')[i % 2]}")
    return [f"dataset.folder={folder}/images", *EASY]


# what an option cannot do without: overrides, or a function of tmp_path that returns them
NEEDS = {
    "dataset/fashion_mnist": fashion_files,
    "dataset/image_folder": class_folders,
    "discovery/ids": ["discovery.ids=[3,17]"],
    "model/resnet9": ["model.net.width=0.125"],
    "poison/none": ["unlearning=none"],
}
# what an option is refused with where its hardware is missing
REFUSED = {} if torch.cuda.is_available() else {"trainer/gpu": "trainer=gpu finds no GPU; use trainer=cpu"}


def overrides(option: str, folder: Path) -> list[str]:
    """The smallest run that has this option in it."""
    group, name = option.split("/")
    need = NEEDS.get(option, [])
    small = [] if group == "model" else NEEDS["model/resnet9"]
    return [*SHORT, *small, f"{group}={name}", *(need(folder) if callable(need) else need)]


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_comes_to_its_end_or_says_why_not(option, run, tmp_path):
    wanted = overrides(option, tmp_path)
    if option in REFUSED:
        with pytest.raises(SystemExit, match=REFUSED[option]):
            run(*wanted, small=[])
        return
    result = run(*wanted, small=[])
    group, name = option.split("/")
    assert HydraConfig.get().runtime.choices[group] == name
    assert result["status"] == "ok"
    assert all(0 <= value <= 1 for when in ("before", "after") for value in result[when].values())
