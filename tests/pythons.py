"""What tests of antidote from Python share."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

SRC = Path(__file__).parents[1] / "src"
QUICK = {"unlearning": "none", "logger": "none", "pictures": False, "save_models": False}


def python(cwd, *arguments, **environment):
    """`python arguments` in a process of its own, which finds this very antidote."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(SRC)} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def keywords(overrides):
    """Overrides of the shell as a call from Python has them."""
    return {key: yaml.safe_load(value) for key, value in (word.split("=") for word in overrides)}
