"""Who may import whom, read from the source: a new module is checked by existing."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "antidote"
MODULES = sorted(
    p.relative_to(SOURCE).as_posix() for p in SOURCE.rglob("*.py") if p.name != "__init__.py"
)
BASE = {"checks", "core", "answers", "recipe"}
SIBLINGS = {"dataset", "model", "poison", "discovery", "unlearning", "evaluation"}
SERVICES = {"cache", "disk", "memory", "tracking", "trainer"}
BELOW = {  # layer: the layers it may import besides its own
    "checks": set(),
    "core": {"checks"},
    "answers": {"core"},
    "recipe": {"checks", "core"},
    **dict.fromkeys(SIBLINGS | SERVICES, BASE),
    "report": BASE | {"disk"},
    "cells": {"disk"},
    "grid": set(),
    "ledger": BASE | {"cache", "disk"},
    "callback": BASE | {"evaluation", "cache", "ledger", "tracking"},
    "config": BASE,
    "labels": {"cache", "config"},
    "stages": BASE | SIBLINGS | SERVICES | {"report", "callback", "config", "labels"},
    "pipeline": {"stages", "config", "tracking", "disk", "cells", "grid", "labels"},
    "past": {"cells", "ledger"},
    "plan": BASE | {"unlearning", "report", "config", "labels", "cells", "grid", "past"},
    "overview": {"checks", "config", "grid", "disk", "report"},
    "sweep": {"pipeline", "report", "overview"},
}


def imports(path: Path) -> set[str]:
    """Full names of all imported modules, those inside functions included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import, which this test cannot follow"
            # `from antidote import recipe` imports a module,
            # `from antidote.core import Data` a name of one
            names |= (
                {f"{node.module}.{a.name}" for a in node.names}
                if node.module == "antidote"
                else {node.module}
            )
    return names


def layers(path: Path) -> set[str]:
    """Layers of antidote that a file imports: {"core", "dataset"}."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("antidote.")}


def outside(path: Path) -> set[str]:
    """Packages other than antidote and the standard library."""
    return {name.split(".")[0] for name in imports(path)} - {"antidote"} - sys.stdlib_module_names


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_layers_below_and_its_own_package(module):
    layer = module.removesuffix(".py").split("/")[0]
    assert layer in BELOW, f"{module} belongs to no layer: say in BELOW what it may import"
    assert layers(SOURCE / module) - {layer} <= BELOW[layer]


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("unlearning/")])
def test_an_unlearning_method_reaches_neither_attack_nor_data_nor_evaluation_nor_victim_class(
    module,
):
    assert not layers(SOURCE / module) & {"poison", "dataset", "evaluation", "model"}
    # nor by a name it looks up: Hydra hands objects over
    assert not imports(SOURCE / module) & {"hydra", "hydra.utils", "importlib", "mlflow"}


@pytest.mark.parametrize("module", ["checks.py", "core.py", "answers.py", "recipe.py"])
def test_the_base_needs_nothing_but_torch(module):
    assert outside(SOURCE / module) == {"torch"}


def test_run_py_imports_nothing_but_the_pipeline():
    assert layers(ROOT / "run.py") == {"pipeline"}


def test_packages_are_empty_so_that_importing_one_method_loads_no_other():
    assert not [p for p in SOURCE.rglob("__init__.py") if p.read_text().strip()]
