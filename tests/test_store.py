"""The store of finished stages: what it keeps, wherever it lies, and what it notices."""

import logging
from types import SimpleNamespace

import pytest
import torch

from antidote.core import BadInput
from antidote.engine.store import Store

PLACES = {"folder": "{}/store", "spaces": "{}/a b%20c", "memory": "memory://antidote-{}"}


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


@pytest.fixture(params=PLACES.values(), ids=PLACES)
def anywhere(request, tmp_path):
    """A store in a folder, in one with an odd name, and at a URL."""
    return Store(request.param.format(tmp_path))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def fetched(store, work, key="key", kind="kind"):
    return store.fetch(kind, key, work)[0]["a"][0, 0].item()


def test_work_is_done_once(anywhere, work):
    assert [fetched(anywhere, work), fetched(anywhere, work), work.calls] == [1, 1, 1]


def test_what_is_fetched_is_what_was_worked_out(anywhere, work):
    first, second = (anywhere.fetch("kind", "key", work)[0] for _ in range(2))
    assert first.keys() == second.keys()
    assert all(
        torch.equal(first[n], second[n]) and first[n].dtype == second[n].dtype for n in first
    )


def test_an_entry_says_what_it_was_told_to_and_how_long_it_took_without_its_tensors(anywhere, work):
    anywhere.fetch("kind", "key", work, scale="s", net="n")
    about = anywhere.about("kind", "key")
    assert (about["scale"], about["net"]) == ("s", "n")
    assert about["seconds"] > 0
    assert about["bytes"] > 0
    assert dict(anywhere.all("kind")).keys() == {"key"}
    assert anywhere.about("kind", "other") is None


def test_an_entry_without_tensors_keeps_what_is_said(anywhere):
    anywhere.write("kind", "key", {}, tries=[[0, {"seconds": 0.1}]])
    assert anywhere.read("kind", "key")[1]["tries"] == [[0, {"seconds": 0.1}]]


def test_tensors_of_any_layout_are_kept(store):
    t = torch.arange(24.0).view(1, 2, 3, 4)
    kept = {
        "transposed": t.transpose(1, 2),
        "channels last": t.to(memory_format=torch.channels_last),
        "shared": t,
        "a scalar": torch.tensor(0.1, dtype=torch.float64),
    }
    store.fetch("kind", "key", lambda: kept)
    found, _ = store.fetch("kind", "key", lambda: {})
    assert all(torch.equal(found[n], kept[n]) for n in kept)


def test_the_first_fetch_saves_nothing_and_the_second_what_the_first_took(store, work, monkeypatch):
    clock = iter([100.0, 112.5])
    clocked = SimpleNamespace(perf_counter=lambda: next(clock))
    monkeypatch.setattr("antidote.engine.store.time", clocked)
    assert [store.fetch("kind", "key", work)[1] for _ in range(2)] == [0.0, 12.5]


def test_other_keys_and_other_kinds_are_other_work(store, work):
    assert [fetched(store, work), fetched(store, work, "other")] == [1, 2]
    assert fetched(store, work, kind="other") == 3


@pytest.mark.parametrize("mode", ["off", False])
def test_off_neither_reads_nor_writes(tmp_path, store, work, mode):
    fetched(store, work)
    off = Store(store.root, mode)
    assert [fetched(off, work), fetched(off, work)] == [2, 3]
    assert fetched(store, work) == 1
    fetched(Store(tmp_path / "elsewhere", mode), work)
    assert not (tmp_path / "elsewhere").exists()


def test_refresh_works_again_and_keeps_the_new_result(store, work):
    fetched(store, work)
    assert fetched(Store(store.root, "refresh"), work) == 2
    assert fetched(store, work) == 2


def test_yamls_bare_on_is_on(tmp_path):
    assert Store(tmp_path, True).mode == "on"


def test_an_unknown_mode_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(BadInput, match="cache=maybe is unknown; choose on or off or refresh"):
        Store(tmp_path, "maybe")


def test_work_that_fails_leaves_no_entry(store, work):
    with pytest.raises(RuntimeError):
        store.fetch("kind", "key", lambda: (_ for _ in ()).throw(RuntimeError))
    assert fetched(store, work) == 1


def only(store):
    """The one file of the store."""
    (path,) = store.files.glob(f"{store.root}/*/*.safetensors")
    return path


def changed(store, how):
    raw = bytearray(store.files.cat_file(only(store)))
    store.files.pipe_file(only(store), bytes(how(raw)))


def flipped(place):
    def flip(raw):
        raw[place] ^= 1
        return raw

    return flip


DAMAGE = {
    "a flipped bit in the tensors": flipped(-1),
    "a flipped bit in the header": flipped(60),
    "cut short": lambda raw: raw[:-20],
    "nothing in it": lambda raw: b"",
    "a longer time": lambda raw: raw.replace(b'\\"seconds\\": ', b'\\"seconds\\": 9', 1),
    "another file format": lambda raw: b'{"seconds": 1}',
    "a header that is too long": lambda raw: b"\xff" * 8 + raw[8:],
}


@pytest.mark.parametrize("how", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_entry_is_made_again_with_a_warning_and_then_sound(anywhere, work, how, caplog):
    fetched(anywhere, work)
    changed(anywhere, how)
    with caplog.at_level(logging.WARNING):
        assert fetched(anywhere, work) == 2
    assert "is damaged" in caplog.text
    assert fetched(anywhere, work) == 2


def test_two_entries_that_were_swapped_are_noticed(anywhere, work):
    fetched(anywhere, work)
    first = anywhere.files.cat_file(only(anywhere))
    fetched(anywhere, work, "other")
    anywhere.files.pipe_file(anywhere.path("kind", "other"), first)
    assert anywhere.read("kind", "other") is None
    assert anywhere.read("kind", "key") is not None
    anywhere.files.makedirs(f"{anywhere.root}/another", exist_ok=True)
    anywhere.files.pipe_file(anywhere.path("another", "key"), first)
    assert anywhere.read("another", "key") is None


def test_a_sound_entry_gives_no_warning(store, work, caplog):
    fetched(store, work)
    fetched(store, work)
    assert not caplog.text


def test_whoever_waits_for_an_entry_is_told_who_has_it(store, caplog):
    import threading

    lock = store.lock("victims", "key")
    with caplog.at_level(logging.INFO), lock:
        waiting = threading.Thread(target=lambda: store.fetch("victims", "key", lambda: {}))
        waiting.start()
        waiting.join(1)
        assert waiting.is_alive()
    waiting.join()
    assert "waiting for victims key, which process" in caplog.text
    assert "has held since" in caplog.text
