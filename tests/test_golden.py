"""Whole runs on digits give the figures and the weights that they gave before the rebuild.

golden.json was made at commit e915f98, before anything was changed, on the processor that `HERE`
names. Where a definition was changed on purpose an entry says which (`changed`, after the issue's
items), and what it `was`.
"""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
HERE = ("AVX512", True)  # what the bits depend on besides code and settings
FOUND = torch.backends.cpu.get_cpu_capability(), torch.cpu._is_avx512_bf16_supported()


QUICK = 14  # every method once


def slow(entry):
    return pytest.param(entry, marks=pytest.mark.slow)


def named(entry):
    shown = ("unlearning", "discovery", "preset", "poison", "flags", "seed")
    return " ".join(o for o in entry["overrides"] if o.startswith(shown))


def weights(path):
    """A hash of all tensors by name."""
    tensors, h = load_file(path), hashlib.sha256()
    for name in sorted(tensors):
        h.update(name.encode() + tensors[name].numpy().tobytes())
    return h.hexdigest()[:16]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("golden")


@pytest.mark.skipif(FOUND != HERE, reason=f"bits are those of a processor with {HERE}")
@pytest.mark.parametrize("entry", [*GOLDEN[:QUICK], *map(slow, GOLDEN[QUICK:])], ids=named)
def test_a_run_gives_its_golden_figures(launch, place, entry):
    left = launch(place, *entry["overrides"], "pictures=false", small=[])
    told = {when: left[when] for when in ("before", "after")}
    assert {when: told[when] | entry[when] for when in told} == told
    assert (left["search"] or {}).get("tries") == entry["tries"]
    assert left["sample_gradients"] == entry["sample_gradients"]
    assert weights(left.folder / "unlearned.safetensors") == entry["weights"]


def test_what_differs_from_before_the_rebuild_says_why():
    assert all(entry.keys() >= {"changed", "was"} for entry in GOLDEN if "was" in entry)
    assert sum("changed" in entry for entry in GOLDEN) < len(GOLDEN) / 2
