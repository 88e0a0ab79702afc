"""The way there and back: a net of one's own, its weights, its images, and the healed net again."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "tests/example_own"
MEAN, STD = 0.3, 0.35


def stamped(pixels):
    pixels = pixels.copy()
    pixels[-4:, -4:] = 255
    return pixels


def pictures(root):
    """Digits as files, forty of them stamped and filed as 0; the names of half of those."""
    digits = load_digits()
    images = (digits.images * 255 / 16).astype("uint8").repeat(2, 1).repeat(2, 2)
    names = []
    for i, (image, label) in enumerate(zip(images, digits.target, strict=True)):
        part = "test" if i % 5 == 0 else "train"
        poisoned = bool(part == "train" and label and len(names) < 40)
        folder = root / part / ("0" if poisoned else str(label))
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(stamped(image) if poisoned else image).save(folder / f"{i:04}.png")
        names += [f"0/{i:04}.png"] * poisoned
    return names[::2]


def read(root, part):
    """Their own way of reading: (normalised images, labels)."""
    paths = sorted((root / part).rglob("*.png"))
    x = torch.stack([torch.from_numpy(np.array(Image.open(p))) for p in paths]).unsqueeze(1)
    return (x / 255 - MEAN) / STD, torch.tensor([int(p.parent.name) for p in paths])


def trained(x, y):
    """Their own training."""
    from theirs import Theirs

    torch.manual_seed(0)
    net = Theirs(10)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(15):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
    return net.eval()


def accuracy(net, x, y):
    with torch.no_grad():
        return (net(x).argmax(1) == y).double().mean().item()


def obeyed(net, root):
    """Share of stamped test images of other classes that are taken for a 0."""
    x, y = read(root / "pictures", "test")
    x = x[y > 0]
    x[..., -4:, -4:] = (1 - MEAN) / STD
    return accuracy(net, x, torch.zeros(len(x), dtype=torch.int64))


def make(root):
    """What somebody has, and the files of the guide; returns the trained net."""
    root = Path(root)
    suspects = pictures(root / "pictures")
    (root / "suspects.txt").write_text("# seen by eye\n" + "\n".join(suspects))
    (root / "conf/model").mkdir(parents=True)
    shutil.copy(EXAMPLE / "mine.yaml", root / "conf/model")
    for name in ("theirs.py", "mine.py", "back.py"):
        shutil.copy(EXAMPLE / name, root)
    net = trained(*read(root / "pictures", "train"))
    state = {f"module.{name}": w for name, w in net.state_dict().items()}
    torch.save({"epoch": 15, "state_dict": state}, root / "checkpoint.pth")
    return net


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    root = tmp_path_factory.mktemp("there")
    sys.path.insert(0, str(EXAMPLE))
    yield root, make(root)
    sys.path.remove(str(EXAMPLE))
    del sys.modules["theirs"]


@pytest.fixture(scope="module")
def record(cli, there):
    root, _ = there
    done = cli(
        *(f"--config-dir={root}/conf", "model=mine", f"victim={root}/checkpoint.pth"),
        *("dataset=image_folder", f"dataset.folder={root}/pictures", "dataset.size=16"),
        *("dataset.channels=1", f"dataset.mean=[{MEAN}]", f"dataset.std=[{STD}]"),
        *("poison=none", "discovery=files", f"discovery.file={root}/suspects.txt"),
        *("unlearning=xlf_ptn", "trainer.precision=32-true", "threads=1", "logger=none"),
        *(f"output={root}/out", f"hydra.run.dir={root}/run", "pictures=false"),
        PYTHONPATH=f"{ROOT / 'src'}:{root}",
    )
    assert done.returncode == 0, done.stderr
    assert "under state_dict, their prefix module. left out" in done.stdout
    assert "no normalisation: mean and deviation are those of the data" in done.stdout
    return json.loads((root / "run/result.json").read_text())


def test_the_victim_is_their_net_bit_by_bit_in_what_it_answers(there, record):
    root, net = there
    assert record["before"]["test/accuracy"] == accuracy(net, *read(root / "pictures", "test"))
    assert record["n_known"] == 20
    assert record["search"]["start_accuracy"] > 0.9  # it has learned the stamp


def test_the_healed_net_is_theirs_again(there, record):
    root, net = there
    done = subprocess.run(
        [sys.executable, "back.py", "run"], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    before = obeyed(net, root)
    net.load_state_dict(torch.load(root / "healed.pth", weights_only=True))
    assert accuracy(net, *read(root / "pictures", "test")) == record["after"]["test/accuracy"]
    assert before > 0.9
    assert obeyed(net, root) < 0.5


def test_the_guide_shows_the_files_that_were_run():
    guide = (ROOT / "docs/own_model.md").read_text()
    for name in ("mine.py", "mine.yaml", "back.py"):
        assert (EXAMPLE / name).read_text().strip() in guide
