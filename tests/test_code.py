"""What a fingerprint is made of: tensors by their content, modules by their code."""

import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from antidote.core.data import digest
from antidote.engine import code as module
from antidote.engine.code import code, follow, paths_of, targets

BYTES = torch.arange(12, dtype=torch.uint8)


@given(st.integers(0, 11), st.integers(0, 7))
def test_a_single_bit_changes_the_digest(place, bit):
    other = BYTES.clone()
    other[place] ^= 1 << bit
    assert digest(other) != digest(BYTES)


def test_the_shape_changes_the_digest():
    assert len({digest(BYTES), digest(BYTES.view(3, 4)), digest(BYTES.view(4, 3))}) == 3


def test_the_type_changes_the_digest():
    zeros = torch.zeros(4, dtype=torch.int32)
    assert digest(zeros) != digest(zeros.float())  # the same bytes


def test_the_digest_does_not_depend_on_the_memory_layout():
    x = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    assert digest(x) == digest(x.to(memory_format=torch.channels_last))


def test_the_sign_of_zero_and_scalars_and_nothing_have_digests():
    things = [
        torch.tensor(0.0),
        torch.tensor(-0.0),
        torch.zeros(1),
        torch.empty(0),
        torch.tensor(True),
    ]
    assert len({digest(t) for t in things}) == len(things)


def test_the_order_of_tensors_changes_the_digest():
    assert digest(BYTES, BYTES.flip(0)) != digest(BYTES.flip(0), BYTES)


CODE = '''"""A module."""

def double(x):
    """Twice x."""
    return 2 * x
'''


def forget():
    """Nothing of the files that were read is remembered: a process reads each once."""
    for thing in vars(module).values():
        if isinstance(thing, functools._lru_cache_wrapper):
            thing.cache_clear()


@pytest.fixture
def version(tmp_path, monkeypatch):
    """`version(source, **others)` of a user's module `stage`, beside modules of those sources."""
    monkeypatch.syspath_prepend(tmp_path)

    def version(source, **others):
        for name, text in {"stage": source, **others}.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(text)
        forget()
        return code(["stage.double"])

    yield version
    forget()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    return", "    # a comment\n    return"),
        ("Twice x.", "2 x, in other words."),
        ("A module.", "The module."),
        ('"""A module."""\n', ""),
        ('    """Twice x."""\n', ""),
        ("2 * x", "(2   *   x)"),
        ("def double", "\n\n\ndef double"),
    ],
)
def test_comments_docstrings_and_layout_do_not_change_the_version(version, old, new):
    assert version(CODE.replace(old, new)) == version(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [("2 * x", "3 * x"), ("2 * x", "x * 2"), ("double(x)", "double(x=1)"), ("return", "yield")],
)
def test_code_changes_the_version(version, old, new):
    assert version(CODE.replace(old, new)) != version(CODE)


def test_a_string_that_is_not_a_docstring_is_code(version):
    assert version(CODE + 'NAME = "a"\n') != version(CODE + 'NAME = "b"\n')


IMPORTS = {
    "import": "import other",
    "from": "from other import x",
    "a name of it": "import other as o",
    "inside a function": "def f():\n    import other",
    "of a package": "from package import other",
    "of a package by its path": "import package.other",
    "through another": "import between",
}


@pytest.mark.parametrize("how", IMPORTS)
def test_what_is_imported_is_part_of_the_version(version, how):
    def of(x):
        source = f"x = {x}\n"
        others = {"package/__init__": "", "package/other": source, "between": "import other"}
        return version(f"{IMPORTS[how]}\n{CODE}", other=source, **others)

    assert of(1) != of(2)
    assert of(1) == of(1)


def test_a_relative_import_is_followed(version):
    def of(x):
        others = {"package/__init__": "", "package/a": "from .b import x", "package/b": f"x = {x}"}
        return version(f"from package.a import x\n{CODE}", **others)

    assert of(1) != of(2)


def test_a_packages_init_is_run_and_so_counts(version):
    def of(x):
        others = {"package/__init__": f"x = {x}", "package/a": ""}
        return version(f"import package.a\n{CODE}", **others)

    assert of(1) != of(2)


def test_what_only_a_type_checker_imports_does_not_count(version):
    def of(x):
        guarded = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import other\n"
        return version(f"{guarded}{CODE}", other=f"x = {x}")

    assert of(1) == of(2)


def test_modules_that_import_one_another_have_a_version(version):
    assert version(f"import other\n{CODE}", other="import stage")


def test_an_installed_package_counts_by_its_version(version, monkeypatch):
    def of(number):
        monkeypatch.setattr("importlib.metadata.version", lambda name: number)
        return version(f"import torch\n{CODE}")

    assert of("2.9.0") != of("2.10.0")


def test_a_package_whose_distribution_has_another_name_counts_too():
    found = {}
    follow("antidote.dataset.digits", found)
    assert found["sklearn"].startswith("scikit-learn ")
    assert found["torch"].startswith("torch ")


def test_antidote_counts_by_its_source_where_it_is_installed_as_well(version, monkeypatch):
    before = version(f"import antidote.recipe\n{CODE}")
    monkeypatch.setattr("antidote.engine.modules.installed", lambda path: "stage" not in path)
    assert version(f"import antidote.recipe\n{CODE}") == before
    found = {}
    follow("antidote.recipe", found)
    assert "antidote.recipe" in found


def test_packages_of_an_environment_elsewhere_are_no_source(version, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path / "lib/site-packages")

    def of(x):
        return version(f"import other\n{CODE}", **{"lib/site-packages/other": f"x = {x}"})

    assert of(1) == of(2)


def test_the_standard_library_and_what_does_not_exist_do_not_count(version):
    assert version(f"import json, no_such_module\n{CODE}") == version(
        f"import json, no_such_module\n{CODE}"
    )
    found = {}
    follow("stage", found)
    assert found.keys() == {"stage"}


def test_the_order_in_which_modules_are_named_does_not_matter():
    names = ("antidote.core", "antidote.recipe")
    assert code(names) == code(reversed(names)) != code(["antidote.core"])


def test_settings_name_their_code():
    settings = {
        "_target_": "antidote.unlearning.xlf.X",
        "objective": {"_target_": "hydra.utils.get_method", "path": "antidote.a.norm"},
        "list": [{"_target_": "my.net"}],
        "rate": 0.1,
        "note": "not a path",
    }
    assert set(targets(settings)) == {
        "antidote.unlearning.xlf.X",
        "hydra.utils.get_method",
        "antidote.a.norm",
        "my.net",
    }


def test_things_name_the_code_they_hold():
    class Holds:
        def __init__(self):
            self.inner, self.function = functools.partial(digest, torch.add), [targets]

    named = set(paths_of([Holds()]))
    assert {"antidote.core.data.digest", "antidote.engine.code.targets"} <= named
    assert any(name.endswith("Holds") for name in named)
