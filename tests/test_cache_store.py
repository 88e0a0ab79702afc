"""The store of finished stages: what it keeps and what it notices."""

import logging
from types import SimpleNamespace

import pytest
import torch

from antidote.cache import Cache
from antidote.checks import BadInput
from antidote.unlearning.objective import norm, squared_norm

PARTS = {"seed": 0, "share": 0.1}


class Work:
    """Counts its calls; the n-th result holds n."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"a": torch.full((2, 3), float(self.calls)), "b/c": torch.tensor(7)}


@pytest.fixture
def work():
    return Work()


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", "on")


def fetched(cache, work, parts=PARTS):
    return cache.fetch("stage", parts, work)[0]["a"][0, 0].item()


def only(cache, name):
    """The one file of that name."""
    (path,) = cache.folder.glob(f"*/*/{name}")
    return path


def test_work_is_done_once(cache, work):
    assert [fetched(cache, work), fetched(cache, work), work.calls] == [1, 1, 1]


def test_what_is_fetched_is_what_was_worked_out(cache, work):
    first, second = (cache.fetch("stage", PARTS, work)[0] for _ in range(2))
    assert first.keys() == second.keys()
    assert all(
        torch.equal(first[n], second[n]) and first[n].dtype == second[n].dtype for n in first
    )


def test_tensors_of_any_layout_are_kept(cache):
    t = torch.arange(24.0).view(1, 2, 3, 4)
    kept = {
        "transposed": t.transpose(1, 2),
        "channels last": t.to(memory_format=torch.channels_last),
        "shared": t,
    }
    cache.fetch("stage", PARTS, lambda: kept)
    found, _ = cache.fetch("stage", PARTS, lambda: {})
    assert all(torch.equal(found[n], kept[n]) for n in kept)


def test_the_first_fetch_saves_nothing_and_the_second_what_the_first_took(cache, work, monkeypatch):
    clock = iter([100.0, 112.5])
    monkeypatch.setattr("antidote.cache.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert [cache.fetch("stage", PARTS, work)[1] for _ in range(2)] == [0.0, 12.5]


def test_the_order_of_parts_does_not_matter(cache, work):
    fetched(cache, work, {"seed": 0, "share": 0.1})
    assert fetched(cache, work, {"share": 0.1, "seed": 0}) == 1


@pytest.mark.parametrize(
    "other", [{"seed": 1, "share": 0.1}, {"seed": 0}, {"seed": "0", "share": 0.1}]
)
def test_other_parts_are_other_work(cache, work, other):
    fetched(cache, work)
    assert fetched(cache, work, other) == 2


def test_functions_are_told_apart_by_their_name(cache, work):
    fetched(cache, work, {"objective": norm})
    assert fetched(cache, work, {"objective": squared_norm}) == 2
    assert fetched(cache, work, {"objective": norm}) == 1


def test_a_part_without_a_stable_name_is_an_error(cache, work):
    with pytest.raises(TypeError, match="cannot be part of a cache key"):
        fetched(cache, work, {"thing": object()})


def test_stages_do_not_mix(cache, work):
    fetched(cache, work)
    assert cache.fetch("other", PARTS, work)[0]["a"][0, 0] == 2


@pytest.mark.parametrize("mode", ["off", False])
def test_off_neither_reads_nor_writes(tmp_path, cache, work, mode):
    fetched(cache, work)
    off = Cache(cache.folder, mode)
    assert [fetched(off, work), fetched(off, work)] == [2, 3]
    assert fetched(cache, work) == 1
    fetched(Cache(tmp_path / "elsewhere", mode), work)
    assert not (tmp_path / "elsewhere").exists()


def test_refresh_works_again_and_keeps_the_new_result(cache, work):
    fetched(cache, work)
    assert fetched(Cache(cache.folder, "refresh"), work) == 2
    assert fetched(cache, work) == 2


def test_yamls_bare_on_is_on(tmp_path):
    assert Cache(tmp_path, True).mode == "on"


def test_an_unknown_mode_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(BadInput, match="cache=maybe is unknown; choose on, off, refresh"):
        Cache(tmp_path, "maybe")


def test_work_that_fails_leaves_no_entry(cache, work):
    with pytest.raises(RuntimeError):
        cache.fetch("stage", PARTS, lambda: (_ for _ in ()).throw(RuntimeError))
    assert fetched(cache, work) == 1


def test_the_rest_of_a_killed_write_is_no_entry(cache, work):
    entry = cache.entry("stage", PARTS)
    half = entry.path.with_suffix(".half")
    half.mkdir(parents=True)
    (half / "entry.json").write_text("{}")
    assert [fetched(cache, work), fetched(cache, work)] == [1, 1]


def flip(path, place):
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


DAMAGE = {
    "a flipped bit in the tensors": lambda cache: flip(only(cache, "tensors.safetensors"), -1),
    "a flipped bit in their header": lambda cache: flip(only(cache, "tensors.safetensors"), 12),
    "truncated tensors": lambda cache: truncate(only(cache, "tensors.safetensors")),
    "no tensors": lambda cache: only(cache, "tensors.safetensors").unlink(),
    "a truncated entry": lambda cache: truncate(only(cache, "entry.json")),
    "an empty entry": lambda cache: only(cache, "entry.json").write_text(""),
    "an entry without its hash": lambda cache: only(cache, "entry.json").write_text(
        '{"seconds": 1}'
    ),
    "no entry": lambda cache: only(cache, "entry.json").unlink(),
}


@pytest.fixture(params=DAMAGE.values(), ids=DAMAGE)
def damaged(request, cache, work):
    """A cache whose one entry is damaged."""
    fetched(cache, work)
    request.param(cache)
    return cache


def test_a_damaged_entry_is_computed_again_with_a_warning(damaged, work, caplog):
    with caplog.at_level(logging.WARNING):
        assert fetched(damaged, work) == 2
    assert "is damaged" in caplog.text


def test_a_damaged_entry_is_mended(damaged, work):
    fetched(damaged, work)
    assert fetched(damaged, work) == 2


def test_a_sound_entry_gives_no_warning(cache, work, caplog):
    fetched(cache, work)
    fetched(cache, work)
    assert not caplog.text
