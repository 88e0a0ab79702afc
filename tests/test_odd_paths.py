"""Paths as people have them: ~, blanks, brackets, ? and %20, in every setting that is one."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf

from antidote.engine.paths import at_home, by_bytes
from antidote.engine.store import Store
from hydra_plugins.antidote_plugins import readable

ODD = [
    "my pics (1)",
    "a,b=c",
    "what?",
    "a%20b",
    "d'quote",
    "[x]{y}",
    "a&b;c#d",
    "ünï",
    "back\\slash",
]


@pytest.mark.parametrize("name", [*ODD, '"', "<x>", "a!b", "x^y`z"])
def test_a_value_that_hydra_cannot_read_is_a_text(name):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (override,) = OverridesParser.create().parse_overrides([readable(f"dataset.folder=/x/{name}")])
    assert override.value() == f"/x/{name}"
    assert readable(readable(f"output=/x/{name}")) == readable(f"output=/x/{name}")


@pytest.mark.parametrize(
    "argument",
    [
        *("seed=0,1,2", "discovery.ids=[3,17]", "output=/x/y z", "victim=null", "-m", "--help"),
        *("output='/x/(1)'", "~trainer.benchmark", "+a.b={c: 1}", "seed=range(0,3)", "x"),
        *("poison_rate='0.03',1pct", "hydra.sweep.subdir=${seed}", "experiment=smoke"),
    ],
)
def test_a_value_that_hydra_can_read_is_left_as_it_is(argument):
    assert readable(argument) == argument


def test_home_is_spelled_out_in_every_setting_that_begins_with_it():
    home = str(Path.home())
    settings = {"a": "~/x", "b": ["~/y", {"c": "~"}], "d": "x~/y", "e": "~x", "f": 1, "g": None}
    assert at_home(settings) == {
        "a": f"{home}/x",
        "b": [f"{home}/y", {"c": home}],
        "d": "x~/y",
        "e": "~x",
        "f": 1,
        "g": None,
    }


def test_hydras_own_folders_are_at_home_too():
    assert OmegaConf.create({"a": "~/x", "b": "${home:${a}}/y"}).b == f"{Path.home()}/x/y"


def test_a_file_stands_for_what_it_holds_and_another_name_for_itself(tmp_path):
    path = tmp_path / "a.txt"
    assert by_bytes(str(path)) == str(path)
    path.write_text("1")
    first = by_bytes(str(path))
    assert first.startswith("a.txt ")
    path.write_text("22")
    assert by_bytes(str(path)) != first
    assert by_bytes(None) is None


@pytest.mark.parametrize("name", ODD)
def test_a_store_anywhere_lists_what_it_holds(tmp_path, name):
    store = Store(tmp_path / name)
    assert list(store.all("kind")) == []
    with store.lock("kind", "key"):
        store.write("kind", "key", {}, seconds=1.0)
    assert [key for key, _ in store.all("kind")] == ["key"]


@pytest.fixture
def arrays(tmp_path):
    def made(name):
        folder = tmp_path / name
        folder.mkdir()
        x = np.random.default_rng(0).integers(0, 256, (30, 11, 11), "uint8")
        np.savez(folder / "x.npz", x=x, y=np.arange(30) % 2)
        (folder / "suspects.txt").write_text("3\n4\n")
        return folder

    return made


SMALL = [
    "dataset=arrays",
    "recipe.epochs=1",
    "model.net.width=0.125",
    "threads=1",
    "progress=false",
]


@pytest.mark.parametrize("name", ODD)
def test_data_lists_and_weights_may_lie_in_folders_of_odd_names(run, arrays, name):
    folder = arrays(name)
    said = [
        readable(f"{setting}={folder}/{file}")
        for setting, file in (("dataset.train", "x.npz"), ("discovery.file", "suspects.txt"))
    ]
    how = [*SMALL, *said, "poison=none", "discovery=files", "unlearning=xlf"]
    first = run(*how, small=[])
    (first.folder / "victim.safetensors").rename(folder / "v.safetensors")
    brought = run(*how, readable(f"victim={folder}/v.safetensors"), small=[])
    assert (first["n_known"], brought["n_known"]) == (2, 2)
    assert brought["after"] == first["after"]


def test_the_command_of_a_run_in_an_odd_folder_can_be_typed_again(cli, arrays, tmp_path):
    import json
    import shlex

    folder = arrays("my pics (1)")
    said = [f"dataset.train={folder}/x.npz", f"output={tmp_path}/out (1)?", "logger=none"]
    quick = ["poison=none", "unlearning=none", "pictures=false", "save_models=false"]
    done = cli(*SMALL, *quick, *said)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "out (1)?/records").glob("*.json")
    command = json.loads(path.read_text())["command"]
    again = cli(*shlex.split(command)[2:])
    assert again.returncode == 0, again.stderr
    assert len(list((tmp_path / "out (1)?/single").iterdir())) == 2


def test_home_in_a_file_of_options_is_spelled_out_everywhere(cli, arrays, tmp_path):
    """In a home of its own, so that nobody's is written to."""
    folder = arrays("home")
    overlay = {"output": "~/out", "dataset": {"train": "~/x.npz"}}
    (tmp_path / "conf/experiment").mkdir(parents=True)
    text = "# @package _global_\n" + yaml.safe_dump(overlay)
    (tmp_path / "conf/experiment/mine.yaml").write_text(text)
    quick = ["poison=none", "unlearning=none", "pictures=false", "logger=none"]
    here = tmp_path / "here"
    here.mkdir()
    done = cli(
        *(f"--config-dir={tmp_path}/conf", "experiment=mine", *SMALL, *quick),
        cwd=here,
        HOME=str(folder),
    )
    assert done.returncode == 0, done.stderr
    assert len(list((folder / "out/single").iterdir())) == 1
    assert list(here.iterdir()) == []
