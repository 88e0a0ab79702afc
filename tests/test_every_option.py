"""Every option of every group goes the whole route: a new YAML file is tested by existing."""

import gzip
import re
from functools import cache, partial
from pathlib import Path

import archives
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from numpy import arange, savez
from numpy.random import default_rng
from omegaconf import OmegaConf, open_dict
from PIL import Image

from antidote.core import Meter
from antidote.engine import callback, source
from antidote.engine.cell import Cell
from antidote.engine.store import Store

ROOT = Path(__file__).parents[1]
OPTIONS = sorted(
    p.relative_to(ROOT / "conf").with_suffix("").as_posix()
    for p in (ROOT / "conf").glob("*/*.yaml")
    if p.parent.name != "hydra"  # Hydra's own groups
)
# tasks that look at a whole sweep are no jobs; they have tests of their own
JOBS = [
    o for o in OPTIONS if not re.search(r"^ *sweep:$", (ROOT / f"conf/{o}.yaml").read_text(), re.M)
]
SHORT = [
    "dataset=digits",
    "dataset.limit=300",
    "recipe.epochs=null",
    "recipe.steps=10",
    "threads=1",
]
EASY = ["poison.rate=0.1", "poison.target_class=1"]


def fashion_files(folder: Path) -> list[str]:
    """Fashion-MNIST's four files with 40 and 20 images of noise, where the loader looks first."""
    (folder / "data/fashion-mnist").mkdir(parents=True)
    for part, n in (("train", 40), ("t10k", 20)):
        pixels, labels = default_rng(0).bytes(n * 28 * 28), bytes(range(10)) * (n // 10)
        for kind, sizes, content in (
            ("images-idx3", (n, 28, 28), pixels),
            ("labels-idx1", (n,), labels),
        ):
            head = bytes([0, 0, 8, len(sizes)]) + b"".join(
                size.to_bytes(4, "big") for size in sizes
            )
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
                Image.fromarray(pixels).save(
                    folder / "images" / part / name / f"{i}.{('png', 'jpg')[i % 2]}"
                )
    return [f"dataset.folder={folder}/images", *EASY]


def own_arrays(folder: Path) -> list[str]:
    """Sixty images of three classes in one file, none of them for testing."""
    pixels, labels = default_rng(0).integers(0, 256, (60, 12, 14, 3), "uint8"), arange(60) % 3
    x = pixels // (1 + labels[:, None, None, None]).astype("uint8")
    savez(folder / "own.npz", x=x, y=labels)
    return [f"dataset.train={folder}/own.npz", *EASY]


def suspects(folder: Path) -> list[str]:
    (folder / "suspects.txt").write_text("3\n17\n")
    return [f"discovery.file={folder}/suspects.txt"]


FAILS_SMOKE = [f"fails_{kind}_smoke" for kind in ("gaussian", "targeted", "indiscriminate")]
# what an option cannot do without: overrides, or a function of tmp_path that returns them
BRIEF = ["poison.restarts=1", "poison.steps=2"]  # of gradient matching
NEEDS = {
    "dataset/arrays": own_arrays,
    "dataset/cifar10": archives.needed(archives.cifar10, "cifar10", *EASY),
    "dataset/cifar100": archives.needed(archives.cifar100, "cifar100", *EASY),
    "dataset/imagenette": archives.needed(
        partial(archives.imagenette, n=5), "imagenette", "dataset.size=32", *EASY
    ),
    "dataset/pcam": archives.needed(partial(archives.pcam, n=40), "pcam", *EASY),
    "dataset/fashion_mnist": fashion_files,
    "dataset/image_folder": class_folders,
    "discovery/files": suspects,
    "discovery/ids": ["discovery.ids=[3,17]"],
    "model/resnet9": ["model.net.width=0.125"],
    "model/resnet18": ["model.net.width=4"],
    **{f"model/resnet{depth}": ["model.net.depth=8"] for depth in (20, 32, 44, 56, 110)},
    "model/timm": ["model.net.name=test_vit", "model.net.image_size=16"],
    "model/vit_b16": [
        "model.net.image_size=16",
        *(
            f"model.net.options.{size}"
            for size in ("patch_size=8", "embed_dim=16", "depth=2", "num_heads=2")
        ),
    ],
    "model/wide_resnet28_10": ["model.net.depth=10", "model.net.widen=0.125"],
    "poison/gradient_matching": ["poison.rate=0.04", *BRIEF],
    "experiment/fails_cifar10_targeted": BRIEF,
    "experiment/fails_cifar10_targeted_small": BRIEF,
    "poison/interclass": ["poison.rate=0.04"],
    **{
        f"experiment/corrective_{data}_interclass": ["poison.rate=0.04", "poison.classes=[3,5]"]
        for data in ("cifar10", "cifar100", "pcam")
    },
    "poison/none": ["unlearning=none"],
    # ten steps are less than one pass, which the default method's importances take
    **{f"budget/{n}pct": ["budget.share=20"] for n in (2, 4, 6, 8, 10)},
    **{f"experiment/{e}": ["budget.share=20"] for e in FAILS_SMOKE},
    **{
        f"tracing/{tracer}": EASY
        for tracer in ("activation_clustering", "confidence", "fall", "influence", "spectral")
    },
}
# what an option is refused with where its hardware is missing
REFUSED = (
    {}
    if torch.cuda.is_available()
    else {"trainer/gpu": "trainer=gpu finds no GPU; use trainer=cpu"}
)


@cache
def composed(*overrides: str) -> tuple[dict, dict, dict]:
    """(the resolved config, the grid of its sweep, the option of each group); only to be read"""
    runtime = [f"hydra.runtime.{name}=/nowhere" for name in ("cwd", "output_dir")]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", [*overrides, *runtime], return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        hydra = cfg.pop("hydra")
    grid, chosen = hydra.sweeper.params, hydra.runtime.choices
    return OmegaConf.to_container(cfg, resolve=True), dict(grid or {}), dict(chosen)


def whole(option: str) -> tuple[dict, dict, dict]:
    """As composed of that option, for any question that a test has."""
    return composed(option.replace("/", "="), "seed=7")


def overrides(option: str, folder: Path) -> list[str]:
    """The smallest run that has this option in it."""
    group, name = option.split("/")
    need = NEEDS.get(option, [])
    small = [] if group == "model" else NEEDS.get(f"model/{whole(option)[2]['model']}", [])
    return [*SHORT, *small, f"{group}={name}", *(need(folder) if callable(need) else need)]


@pytest.fixture(scope="module")
def done():
    """Runs made so far, by option."""
    return {}


@pytest.fixture
def through(run, tmp_path, done):
    """`through(option)` is the run with this option in it; it is made once."""

    def through(option):
        group, name = option.split("/")
        if option not in done:
            done[option] = run(*overrides(option, tmp_path), small=[])
            assert HydraConfig.get().runtime.choices[group] == name
        return done[option]

    return through


@pytest.mark.parametrize("option", [option for option in JOBS if option not in REFUSED])
def test_an_option_comes_to_its_end(through, option):
    result = through(option)
    assert result["status"] == "ok"
    measured = {**result["before"], **result["after"]}
    shares = [value for name, value in measured.items() if not name.startswith("gus/")]
    assert all(0 <= share <= 1 for share in shares)


METHODS = [option for option in OPTIONS if option.startswith("unlearning/")]


@pytest.mark.parametrize("option", METHODS)
def test_a_methods_record_has_the_identity_that_was_worked_out_beforehand(
    through, tmp_path, option
):
    """A method once filled in its Trainer's settings when it was built, and its hash with them."""
    left = through(option)
    cell = cell_of(*overrides(option, tmp_path))
    store = Store(left.folder.parent / "output/store")
    assert left["config_hash"] == cell.config_hash
    assert left["id"] == cell.id(source.known(cell, store))


def cell_of(*overrides: str) -> Cell:
    """As a plan has it: nothing is built."""
    runtime = [f"hydra.runtime.{name}=/nowhere" for name in ("cwd", "output_dir")]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", [*overrides, *runtime], return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return Cell.of(cfg)


@pytest.mark.parametrize("option", REFUSED)
def test_an_option_without_its_hardware_says_so(through, option):
    with pytest.raises(SystemExit, match=REFUSED[option]):
        through(option)


@pytest.mark.parametrize("option", METHODS)
def test_a_method_says_how_many_sample_gradients_it_took(run, tmp_path, monkeypatch, option):
    """What its nets saw is counted as well, by somebody else."""
    meters = []

    class Seen(Meter):
        def __init__(self):
            super().__init__()
            meters.append(self)

    monkeypatch.setattr(callback, "Meter", Seen)
    left = run(*overrides(option, tmp_path), small=[])
    (meter,) = meters
    assert left["sample_gradients"] == meter.count.gradients
    assert left["forwards"] == meter.count.forwards


@pytest.mark.parametrize("option", METHODS)
def test_every_method_but_none_edits_the_net(through, option):
    victim, unlearned = (
        (through(option).folder / f"{n}.safetensors").read_bytes() for n in ("victim", "unlearned")
    )
    assert (victim == unlearned) == (option == "unlearning/none")


def seeds(config: dict) -> list[int]:
    """All that are set."""
    found = [value for key, value in config.items() if key == "seed"]
    return found + [
        seed for part in config.values() if isinstance(part, dict) for seed in seeds(part)
    ]


@pytest.mark.parametrize("option", OPTIONS)
def test_every_draw_of_an_option_follows_the_seed_of_the_run(option):
    cfg = whole(option)[0]
    # a split into training and test part is the same for all seeds
    dataset = {k: v for k, v in cfg["dataset"].items() if k != "seed"}
    assert set(seeds(cfg | {"dataset": dataset})) == {7}


@pytest.mark.parametrize(
    "option", [option for option in OPTIONS if option.startswith("experiment/")]
)
def test_the_grid_of_an_experiment_names_only_what_exists(option):
    chosen, grid = option.replace("/", "="), whole(option)[1]
    ends: list[list[str]] = [[], []]
    for axis in OverridesParser.create().parse_overrides([f"{k}={v}" for k, v in grid.items()]):
        swept = axis.is_sweep_override()
        values = [*axis.sweep_string_iterator()] if swept else [axis.get_value_element_as_str()]
        key = axis.get_key_element()
        if (ROOT / "conf" / key).is_dir():
            assert all((ROOT / f"conf/{key}/{value}.yaml").is_file() for value in values)
        for end, value in zip(ends, (values[0], values[-1]), strict=True):
            end.append(f"{key}={value}")
    for end in ends:
        composed(chosen, *end)
