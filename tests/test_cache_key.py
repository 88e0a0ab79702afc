"""What a cache key is made of: tensors by their content, modules by their code."""

import sys
from types import ModuleType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from antidote.cache import code_version, digest

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


@pytest.fixture
def version(tmp_path, monkeypatch):
    """`version(source)` of a module with that source."""

    def version(source):
        path = tmp_path / "stage.py"
        path.write_text(source)
        module = ModuleType("stage")
        module.__file__ = str(path)
        monkeypatch.setitem(sys.modules, "stage", module)
        code_version.cache_clear()
        return code_version("stage")

    yield version
    code_version.cache_clear()


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


def test_the_order_in_which_modules_are_named_does_not_matter():
    names = ("antidote.core", "antidote.cache")
    assert code_version(*names) == code_version(*reversed(names))


def test_each_module_is_part_of_the_version():
    assert code_version("antidote.core", "antidote.cache") != code_version("antidote.core")
