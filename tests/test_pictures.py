"""The pictures of a run, from what lies in its folder."""

import ast
import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from made_records import failure, record

from antidote.report.run import figures, pictures
from antidote.report.run.figures import per_class, samples, search_path
from antidote.report.run.pictures import draw

CLASSES = ["ant", "bee", "cat"]
ACCURACIES = {f"test/class_accuracy/{k}": 0.9 - 0.1 * k for k in range(3)} | {"test/accuracy": 0.8}
SEARCH = {
    "rho": 0.2,
    "start_accuracy": 1.0,
    "met": True,
    "tries": 2,
    "cutoff": 3.0,
    "known_poison_accuracy": 0.1,
}
STEPS = [{"cutoff": c, "known_poison_accuracy": a, "dampened": 0.1} for c, a in ((4, 1), (3, 0.1))]


def run_folder(folder: Path, images: bool = True, channels: int = 1, **about) -> Path:
    """As a run leaves it: result.json and samples.npz."""
    told = {"classes": CLASSES, "before": ACCURACIES, "after": ACCURACIES}
    told |= {"search": SEARCH, "steps": STEPS} | about
    (folder / "result.json").write_text(json.dumps(record("a", **told)))
    if images:
        coin = np.random.default_rng(0)
        arrays = {}
        for kind, n in (("clean test", 6), ("poisoned training", 2), ("trigger", 6)):
            shape = (n, channels, 8, 8)
            arrays[f"{kind}/images"] = coin.integers(256, size=shape, dtype=np.uint8)
            for part, shape in (("true", n), ("stored", n), ("told", (2, n))):
                arrays[f"{kind}/{part}"] = coin.integers(3, size=shape)
        np.savez(folder / "samples.npz", **arrays)
    return folder


def names(paths: list[Path]) -> set[str]:
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    return {path.name for path in paths}


def texts(figure) -> list[str]:
    found = []
    for axis in figure.axes:
        found += [axis.get_title(), *(t.get_text() for t in axis.texts)]
        found += [t.get_text() for t in axis.get_xticklabels()]
    return found


@pytest.mark.parametrize("channels", [1, 3])
def test_a_run_folder_is_enough_for_all_three(tmp_path, channels):
    made = draw(run_folder(tmp_path, channels=channels))
    assert names(made) == {"samples.png", "per_class.png", "ptn_path.png"}
    assert all(path.parent == tmp_path for path in made)


def test_without_a_search_there_is_no_path(tmp_path):
    made = draw(run_folder(tmp_path, search=None, steps=[]))
    assert names(made) == {"samples.png", "per_class.png"}


def test_without_the_images_the_rest_is_drawn(tmp_path, caplog):
    made = draw(run_folder(tmp_path, images=False))
    assert names(made) == {"per_class.png", "ptn_path.png"}
    assert not caplog.messages


def test_what_is_odd_costs_its_picture_and_not_the_others(tmp_path, caplog):
    (run_folder(tmp_path) / "samples.npz").write_bytes(b"half a fi")
    made = draw(run_folder(tmp_path, images=False, before={}))
    assert names(made) == {"ptn_path.png"}
    assert [m.split(" was not drawn")[0] for m in caplog.messages] == [
        "samples.png",
        "per_class.png",
    ]


def test_a_search_without_figures_costs_its_picture_alone(tmp_path):
    made = draw(run_folder(tmp_path, search=SEARCH | {"cutoff": None}))
    assert names(made) == {"samples.png", "per_class.png"}


def test_nothing_is_drawn_of_a_failed_run_or_of_none(tmp_path):
    assert draw(tmp_path) == []
    (tmp_path / "result.json").write_text(json.dumps(failure("a", "too hot")))
    assert draw(tmp_path) == []


@pytest.mark.parametrize(
    "odd", ["$0-$50", "over_$100", r"$\frac{$", "$$", "a\nb", "\udcff", "x" * 500, "日本", ""]
)
def test_a_class_may_have_any_name(tmp_path, odd, caplog):
    made = draw(run_folder(tmp_path, classes=[odd, "bee", "cat"]))
    assert names(made) == {"samples.png", "per_class.png", "ptn_path.png"}
    assert not [m for m in caplog.messages if "not drawn" in m]


def test_a_dollar_is_shown_as_a_dollar(tmp_path):
    """A formula has no text path of its own letters; a plain text keeps them."""
    classes = ["$0-$50", "$50-$100", "over_$100"]
    folder = run_folder(tmp_path, classes=classes)
    told = json.loads((folder / "result.json").read_text())
    with mpl.rc_context({"text.parse_math": False}):
        drawn = [per_class(told), samples(folder / "samples.npz", told)]
    for figure in drawn:
        labels = [t for axis in figure.axes for t in [*axis.get_xticklabels(), *axis.texts]]
        dollars = [label for label in labels if "$" in label.get_text()]
        assert dollars
        assert not any(label.get_parse_math() for label in dollars)


def test_wrong_answers_are_red_and_wrong_labels_are_told(tmp_path):
    arrays = {
        "clean test/images": np.zeros((1, 1, 8, 8), np.uint8),
        "clean test/true": np.array([0]),
        "clean test/stored": np.array([1]),
        "clean test/told": np.array([[2], [0]]),
    }
    np.savez(tmp_path / "samples.npz", **arrays)
    axis = samples(tmp_path / "samples.npz", {"classes": CLASSES}).axes[0]
    assert axis.get_title() == "true: ant\nlabelled: bee"
    colours = {t.get_text(): t.get_color() for t in axis.texts}
    assert colours["before: cat"] == figures.BEFORE
    assert colours["after: ant"] == "black"


def test_the_path_shows_the_searchs_steps_alone(tmp_path):
    mixed = [*STEPS, {"epoch": 0, "loss": 1.0}]
    figure = search_path({"search": SEARCH, "steps": mixed})
    assert len(figure.axes[0].lines[0].get_xdata()) == len(STEPS)


@pytest.mark.parametrize("module", [figures, pictures])
def test_drawing_needs_no_net_no_data_and_no_torch(module):
    tree = ast.parse(Path(module.__file__).read_text())
    imported = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    imported |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert not {name for name in imported if name.split(".")[0] == "torch"}
    ours = {name for name in imported if name.startswith("antidote")}
    assert ours <= {
        "antidote.engine.disk",
        "antidote.report.run.figures",
        "antidote.report.words",
    }
