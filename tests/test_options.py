"""What `--help` and `task=options` tell, from the YAML files themselves."""

import subprocess
import sys
from pathlib import Path

import pytest
from forks import ROOT
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from antidote.report.options import group_text, help_text, option, options

CONF = ROOT / "conf"
FILES = sorted(p for p in CONF.glob("*/*.yaml"))
METHOD = """\
# A method
# that does much
defaults:
  - base/trained@_here_
  - xlf@method           # the inner one
  - override /model: linear
  - _self_

_target_: some.thing
rho: 0.2                 # where it stops
name: "a#b"
optimizer:               # SGD
  _target_: torch.optim.SGD
  lr: 0.1                # of each step
seed: ${seed}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.yaml").write_text(
        "defaults:\n  - unlearning: mine  # what heals\n\nseed: 0    # of all\nhydra:\n  a: 1\n"
    )
    (tmp_path / "unlearning/base").mkdir(parents=True)
    (tmp_path / "unlearning/mine.yaml").write_text(METHOD)
    (tmp_path / "unlearning/base/trained.yaml").write_text("# Shared\nhold_out: 0.1\n")
    (tmp_path / "poison_rate").mkdir()
    for name in ("10pct", "1pct", "0_2pct", "1_5pct"):
        (tmp_path / f"poison_rate/{name}.yaml").write_text("poison_rate: 0.1\n")
    return tmp_path


def test_an_option_is_its_comment_what_it_is_made_of_and_its_knobs(folder):
    read = option("unlearning", folder / "unlearning/mine.yaml")
    assert read.head == "A method\nthat does much"
    assert read.refers == ("base/trained@_here_", "xlf@method", "override /model: linear")
    assert read.knobs == (
        ("unlearning.rho", "0.2", "where it stops"),
        ("unlearning.name", '"a#b"', ""),
        ("unlearning.optimizer", "", "SGD"),
        ("unlearning.optimizer.lr", "0.1", "of each step"),
        ("unlearning.seed", "${seed}", ""),
    )


def test_help_names_group_default_and_comment_and_leaves_shared_parts_out(folder):
    text = help_text([folder], "antidote")
    assert "unlearning: what heals (mine)\n  mine  A method\n" in text
    assert "0_2pct, 1pct, 1_5pct, 10pct" in text  # by number
    assert "seed: 0    # of all" in text
    assert "Shared" not in text
    assert "  a: 1" not in text


def test_ones_own_folder_comes_first(folder, tmp_path):
    own = tmp_path / "own/unlearning"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# My own\n")
    text = help_text([own.parent, folder], "antidote")
    assert "mine  My own" in text
    assert "A method" not in text


def test_a_group_comes_with_what_its_options_share(folder):
    text = group_text([folder], "unlearning")
    assert "unlearning.optimizer.lr" in text
    assert "base/trained\n  Shared" in text
    assert group_text([folder], "unlearning/base") is None
    assert group_text([folder], "nothing") is None


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_option_says_what_it_is(path):
    """In one line for `--help`; options that are numbers say so by their names."""
    read = option(path.parent.name, path)
    assert read.head or path.stem.endswith("pct")


@pytest.mark.parametrize(
    "group", ["dataset", "model", "poison", "preset", "recipe", "tracing", "unlearning"]
)
def test_every_knob_that_is_told_can_be_set(group):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for one in options([CONF])[group]:
            settings = compose("config", [f"{group}={one.name}"])
            for name, _, _ in one.knobs:
                assert select(settings, name), (one.name, name)


def select(settings, path: str) -> bool:
    above, _, last = path.rpartition(".")
    return last in OmegaConf.select(settings, above)


def cli(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_help_of_the_real_thing_imports_no_torch():
    code = (
        "import sys, runpy; sys.argv = ['run.py', '--help']\n"
        f"try: runpy.run_path({str(ROOT / 'run.py')!r}, run_name='__main__')\n"
        "finally: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.endswith("False\n"), done.stderr
    assert "$" in done.stdout  # ${output} comes through
    for words in ("xlf_ptn", "Examples", "resnet9", "corrective_smoke"):
        assert words in done.stdout
    assert "discovery/base" not in done.stdout


def test_help_can_be_cut_short():
    done = subprocess.run(
        f"{sys.executable} {ROOT / 'run.py'} --help | head -1",
        shell=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("antidote")
    assert done.stderr == ""


def test_a_group_from_the_command_line():
    done = cli("task=options", "group=tracing")
    assert done.returncode == 0, done.stderr
    assert "tracing=features" in done.stdout
    wrong = cli("task=options", "group=unlerning")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: group=unlerning is no group of options; those are ")
    assert "unlearning" in wrong.stderr


def test_no_run_is_left_by_looking(tmp_path: Path):
    subprocess.run([sys.executable, str(ROOT / "run.py"), "--help"], cwd=tmp_path, check=True)
    assert not list(tmp_path.iterdir())
