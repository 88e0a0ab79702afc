"""How many functions of this project lie between the shell and what matters.

Counted on the stack of a real `python run.py`, from what run.py calls to the function itself.
Lambdas, comprehensions, the body of run.py, and what is not of this project (Lightning, Hydra) do
not count; a context manager is not on the stack while its block runs.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HARD = ["dataset=digits", "dataset.limit=600", "model.net.width=0.125", "recipe.epochs=2"]
QUIET = ["threads=1", "progress=false", "pictures=false", "save_models=false", "logger=none"]
DOOR = "src/antidote/door/shell.py:job"
SPY = """
import functools, json, runpy, sys

ROOT, *arguments = sys.argv[1:]
OURS = ("run.py", "src/antidote/")

def stack():
    frame, names = sys._getframe(2), []
    while frame:
        code = frame.f_code
        place = code.co_filename.removeprefix(ROOT + "/")
        if place.startswith(OURS) and not code.co_name.startswith("<"):
            names.append(place + ":" + code.co_name)
        frame = frame.f_back
    return names[::-1]

def watch(owner, name):
    real = getattr(owner, name)

    @functools.wraps(real)
    def watched(*args, **kwargs):
        seen.append([name, [*stack(), owner.__name__ + "." + name]])
        return real(*args, **kwargs)

    setattr(owner, name, watched)

from antidote.model.classifier import Classifier
from antidote.unlearning.evidence import Evidence

seen = []
watch(Classifier, "training_step")
watch(Evidence, "edit")
sys.argv = [ROOT + "/run.py", *arguments]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
    """`stacks(method)`: {"training_step": [[function, ...], ...], "edit": [...]} of a run."""

    def stacks(method):
        place = tmp_path_factory.mktemp("hops")
        command = [sys.executable, "-c", SPY, str(ROOT), *HARD, *QUIET]
        done = subprocess.run(
            [*command, f"output={place}", f"unlearning={method}", "poison.rate=0.1"],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        found = {"training_step": [], "edit": []}
        for name, stack in json.loads(done.stdout.splitlines()[-1]):
            found[name].append(stack)
        return found

    return stacks


@pytest.fixture(scope="module")
def edited(stacks):
    return stacks("ssd")


def test_a_training_step_is_at_most_6_functions_from_the_shell(edited):
    assert {stack[0] for stack in edited["training_step"]} == {DOOR}
    assert max(map(len, edited["training_step"])) <= 6, edited["training_step"][0]


def test_a_weight_edit_is_at_most_8_functions_from_the_shell(edited):
    (stack,) = edited["edit"]
    assert stack[0] == DOOR
    assert len(stack) <= 8, stack


def test_every_edit_of_a_search_is_at_most_8_functions_from_the_shell(stacks):
    edits = stacks("xlf_ptn")["edit"]
    assert len(edits) > 1
    assert max(map(len, edits)) <= 8, max(edits, key=len)
