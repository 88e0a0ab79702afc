"""Who may import whom, read from the source: a new module is checked by existing."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "antidote"
FILES = sorted(SOURCE.rglob("*.py"))
MODULES = [p.relative_to(SOURCE).as_posix() for p in FILES if p.name != "__init__.py"]
# from the ground up; those of one storey are siblings, which never import one another
STOREYS = [
    ["core"],
    ["progress"],
    ["recipe", "trainer", "metrics"],
    ["dataset", "model", "poison", "discovery", "tracing", "unlearning"],
    ["engine"],
    ["sweeps"],
    ["report"],
    ["task"],
    ["door"],
]
STOREY = {layer: height for height, storey in enumerate(STOREYS) for layer in storey}


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


def layer(module: str) -> str:
    return module.removesuffix(".py").split("/")[0]


def layers(path: Path) -> set[str]:
    """Layers of antidote that a file imports: {"core", "dataset"}."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("antidote.")}


def outside(path: Path) -> set[str]:
    """Packages other than antidote and the standard library."""
    return {name.split(".")[0] for name in imports(path)} - {"antidote"} - sys.stdlib_module_names


def uses(path: Path) -> set[str]:
    """Names that a file reads, those of modules included."""
    tree = ast.parse(path.read_text())
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}


def of(*names: str) -> list[str]:
    return [m for m in MODULES if layer(m) in names]


def test_every_layer_is_there():
    assert {layer(m) for m in MODULES} == set(STOREY)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_layers_below_and_its_own_package(module):
    own = layer(module)
    assert own in STOREY, f"{module} belongs to no layer: say in STOREYS where it stands"
    below = {name for name, height in STOREY.items() if height < STOREY[own]}
    assert layers(SOURCE / module) - {own} <= below


@pytest.mark.parametrize("module", of("tracing", "unlearning"))
def test_a_defence_imports_nothing_but_core_and_how_training_goes(module):
    # what is measured belongs to whoever judges a method or a tracer
    assert layers(SOURCE / module) <= {layer(module), "core", "progress", "recipe", "trainer"}
    # nor is it given anything else by a name that it looks up: Hydra hands objects over
    assert not imports(SOURCE / module) & {"hydra", "hydra.utils", "importlib", "mlflow"}


@pytest.mark.parametrize("module", of("core"))
def test_core_needs_nothing_but_torch(module):
    assert outside(SOURCE / module) <= {"torch"}


PEOPLE = "report", "task", "door"


@pytest.mark.parametrize("module", [m for m in MODULES if layer(m) not in PEOPLE])
def test_only_what_people_look_at_prints(module):
    assert "print" not in uses(SOURCE / module)
    assert "rich" not in outside(SOURCE / module)


@pytest.mark.parametrize(
    "module",
    [m for m in MODULES if m not in ("engine/cell.py", "sweeps/grid.py", *of("task", "door"))],
)
def test_hydras_globals_are_read_where_a_cell_is_made_and_in_doors(module):
    assert not uses(SOURCE / module) & {"HydraConfig", "GlobalHydra"}


def test_run_py_is_a_door_and_nothing_else():
    assert imports(ROOT / "run.py") == {"antidote.door.shell"}


def test_hydras_plugins_import_nothing_of_antidote_before_they_are_used():
    tree = ast.parse((ROOT / "src/hydra_plugins/antidote_plugins/__init__.py").read_text())
    top = [n.module or "" for n in tree.body if isinstance(n, ast.ImportFrom)]
    assert top
    assert not [name for name in top if name.startswith("antidote")]


def test_packages_are_empty_so_that_importing_one_method_loads_no_other():
    full = [p for p in FILES if p.name == "__init__.py" and p.read_text().strip()]
    # the nouns are one name away; what can be had from Python is imported when it is used
    assert full == [SOURCE / "__init__.py", SOURCE / "core/__init__.py"]
