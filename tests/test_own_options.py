"""Options of one's own in ./conf, antidote's own conf/, and other Hydra programs' options."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.utils import create_config_search_path

from antidote.door.place import CONF, own, passed_over

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "tests/example_method"
# as bash calls what `-sc install=bash` defines, for the last word of a line
COMPLETE = """
eval "$({program} -sc install=bash)"
COMP_LINE="{line}"; COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
hydra_bash_completion
echo "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with an option of one's own, its code, and one whose name is taken."""
    (tmp_path / "conf/unlearning").mkdir(parents=True)
    shutil.copy(EXAMPLE / "forgetful.yaml", tmp_path / "conf/unlearning")
    shutil.copy(EXAMPLE / "forgetful.yaml", tmp_path / "conf/unlearning/xlf_ptn.yaml")
    shutil.copy(EXAMPLE / "forgetful.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def providers(conf):
    return [place.provider for place in create_config_search_path(str(conf)).get_path()]


def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


def test_the_packages_conf_is_the_repositorys():
    assert ROOT / "conf" == CONF


@pytest.mark.parametrize("folder", [ROOT, ROOT / "src/antidote"])
def test_in_a_checkout_conf_is_antidotes_and_found_once(monkeypatch, folder):
    monkeypatch.chdir(folder)
    assert own() is None
    assert "own" not in providers(CONF)


def test_elsewhere_conf_is_ones_own(here):
    assert own() == here / "conf"
    assert composed("unlearning=forgetful").unlearning._target_ == "forgetful.Forgetful"


def test_what_is_named_as_one_of_antidotes_does_not_take_its_place(here):
    assert composed("unlearning=xlf_ptn").unlearning._target_ == "antidote.unlearning.ptn.PTN"
    taken = here / "conf/unlearning/xlf_ptn.yaml"
    assert list(passed_over({"unlearning": "xlf_ptn", "dataset": "digits"})) == [taken]
    assert not list(passed_over({"unlearning": "forgetful", "hydra/launcher": None}))


def test_a_run_says_which_option_was_not_read(cli, here, small):
    done = cli(*small, "logger=none", "pictures=false", cwd=here)
    assert done.returncode == 0, done.stderr
    said = f"conf/unlearning/xlf_ptn.yaml: not read, since {CONF} has options of that name"
    assert said in done.stdout


def test_a_copy_of_all_options_is_one_warning(cli, small, tmp_path):
    shutil.copytree(CONF, tmp_path / "conf")
    done = cli(*small, "logger=none", "pictures=false", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "not read" in line]
    assert re.search(r" and \d+ others there: not read", line)


def test_another_programs_options_are_its_own(here):
    (here / "other").mkdir()
    assert "own" not in providers(here / "other")
    assert "own" in providers(CONF)


def test_another_program_can_use_antidotes(tmp_path):
    (tmp_path / "app.yaml").write_text(
        "defaults: [_self_, unlearning: xlf_ptn]\nhydra: {searchpath: [pkg://antidote.conf]}\n"
    )
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        assert compose("app").unlearning._target_ == "antidote.unlearning.ptn.PTN"


def test_options_elsewhere_are_named_and_are_in_the_command(cli, here, small):
    (here / "empty").mkdir()
    how = ["unlearning=forgetful", "logger=none", "pictures=false"]
    done = cli(
        "--config-dir", here / "conf", *small, *how, cwd=here / "empty", PYTHONPATH=path(here)
    )
    assert done.returncode == 0, done.stderr
    (record,) = (here / "empty/multirun/records").glob("*.json")
    assert f'"python run.py --config-dir={here}/conf dataset=digits' in record.read_text()


def path(*folders):
    return os.pathsep.join(map(str, [ROOT / "src", *folders]))


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A folder of programs called python and antidote."""
    bin = tmp_path_factory.mktemp("bin")
    door = "import sys; from antidote.door.shell import main; sys.exit(main())"
    (bin / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (bin / "antidote").write_text(f"#!{sys.executable}\n{door}\n")
    for program in bin.iterdir():
        program.chmod(0o755)
    return bin


@pytest.mark.parametrize("program", ["python run.py", "antidote"])
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("unlearning=xlf_p", ["unlearning=xlf_ptn", "unlearning=xlf_ptn_repair"]),
        ("poison_r", ["poison_rate="]),
        ("seed=1 recipe.ep", ["recipe.epochs="]),
    ],
)
def test_tab_completes(programs, program, typed, offered):
    script = COMPLETE.format(program=program, line=f"{program} {typed}")
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        env=os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": path()},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == offered, done.stderr
