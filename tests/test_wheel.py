"""The wheel, built and installed into an environment of its own, outside of the checkout."""

import json
import os
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import sweeps

from antidote.engine.records import Records

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "tests/example_method"
SMOKE = ["experiment=smoke", "threads=1"]


def piped(*command, **how):
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=600, **how
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy: setuptools leaves its build beside the source."""
    place = tmp_path_factory.mktemp("wheel")
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, place / "copy" / name, symlinks=True)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, place / "copy")
    how = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    piped(sys.executable, "-m", "pip", "wheel", *how, "--wheel-dir", place, place / "copy")
    (found,) = place.glob("antidote-*.whl")
    return found


@pytest.fixture(scope="module")
def antidote(wheel):
    """`antidote(*arguments, cwd=folder)`: the console script, with this environment's packages."""
    place = wheel.parent / "venv"
    piped(sys.executable, "-m", "venv", "--without-pip", place)
    pip = [sys.executable, "-m", "pip", "--python", place / "bin/python"]
    piped(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel)
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "rest.pth").write_text("\n".join(site.getsitepackages()))
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def antidote(*arguments, cwd, program="antidote", **environment):
        environment = clean | {"COLUMNS": "400"} | environment
        return piped(place / "bin" / program, *arguments, cwd=cwd, env=environment)

    return antidote


@pytest.fixture(scope="module")
def smoke(antidote, tmp_path_factory):
    """(process, folder) of the smoke experiment, begun in an empty folder."""
    place = tmp_path_factory.mktemp("elsewhere")
    return antidote(*SMOKE, cwd=place), place


def test_everything_is_in_the_wheel(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    sources = [p.relative_to(ROOT / "src") for p in (ROOT / "src").rglob("*.*") if p.is_file()]
    code = {p.as_posix() for p in sources if p.suffix in (".py", ".yaml", ".j2", ".typed")}
    conf = {f"antidote/{p.relative_to(ROOT)}" for p in (ROOT / "conf").rglob("*.yaml")}
    assert len(conf) > 150
    assert inside >= {p for p in code if ".egg-info" not in p} | conf


def test_the_smoke_experiment_runs_in_an_empty_folder(smoke):
    done, place = smoke
    assert "poison healed" in done.stdout
    assert [p.name for p in place.iterdir()] == ["multirun"]
    (run,) = (place / "multirun/single").iterdir()
    assert {p.name for p in run.iterdir()} >= {"result.json", "run.log", "samples.png"}


def test_its_record_says_how_to_type_it_again_and_which_version_it_was(smoke, wheel):
    (record,) = Records(smoke[1] / "multirun")
    assert record["command"] == " ".join(["antidote", *SMOKE])
    assert record["commit"] == wheel.name.split("-")[1]


def test_a_checkout_takes_the_cell_for_its_own(smoke, tmp_path):
    output = f"output={smoke[1]}/multirun"
    swept = sweeps.sweep(tmp_path, *SMOKE, output, "unlearning=xlf_ptn")
    assert swept.status == 0
    assert "done before, in" in swept.log


@pytest.fixture
def own(smoke):
    """That folder, with an option of one's own and its code."""
    place = smoke[1]
    (place / "conf/unlearning").mkdir(parents=True, exist_ok=True)
    shutil.copy(EXAMPLE / "forgetful.yaml", place / "conf/unlearning")
    shutil.copy(EXAMPLE / "forgetful.py", place)
    return place


def test_own_options_and_code_in_the_current_folder_are_found(antidote, own):
    antidote(*SMOKE, "unlearning=forgetful", "logger=none", "pictures=false", cwd=own)
    methods = {record["unlearning"] for record in Records(own / "multirun")}
    assert methods == {"xlf_ptn", "forgetful"}


@pytest.mark.parametrize("how", ["--config-dir", "--config-dir="])
def test_own_options_elsewhere_are_found(antidote, own, tmp_path, how):
    there = [how + str(own / "conf")] if how.endswith("=") else [how, own / "conf"]
    done = antidote(*there, "unlearning=forgetful", "--cfg", "job", cwd=tmp_path)
    assert "_target_: forgetful.Forgetful" in done.stdout


def test_help_imports_nothing_heavy(antidote, tmp_path):
    done = antidote("--help", cwd=tmp_path, PYTHONPROFILEIMPORTTIME="1")
    assert "xlf_ptn" in done.stdout
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "hydra" in imported
    assert not imported & {"torch", "lightning", "mlflow", "matplotlib", "pandas"}


def test_python_finds_it_too(antidote, own):
    program = f"import antidote, json; print(json.dumps(antidote.run({SMOKE}, logger='none')))"
    record = json.loads(antidote("-c", program, program="python", cwd=own).stdout)
    assert record["status"] == "ok"
    assert record["command"] == " ".join(["antidote", *SMOKE, "logger=none"])
