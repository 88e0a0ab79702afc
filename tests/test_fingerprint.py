"""What is the same has the same fingerprint, and what differs another."""

import functools

import pytest
import torch
from torch import nn

from antidote.core import Loader, Samples
from antidote.core import data as source
from antidote.core.data import described, digest, fingerprint, loader_fingerprint


class Shift:
    """An augmentation and a view with a setting."""

    def __init__(self, by):
        self.by = by

    def __call__(self, x, generator):
        return x + self.by

    def stamped(self, x, rows):
        return x - self.by


def shifting(by):
    return lambda x, rows: x + by


def samples(first=0.0):
    x = torch.arange(10.0)
    x[0] = first
    return Samples(x.unsqueeze(1), torch.arange(10) % 2)


def loader(**changes):
    settings = {"samples": samples(), "rows": torch.arange(8), "batch_size": 4}
    settings |= {"augment": Shift(1), "view": shifting(1)}
    return Loader(**settings | changes)


def test_loaders_made_alike_have_one_fingerprint_however_often_they_were_read():
    one, other = loader(), loader()
    list(one)
    assert one.fingerprint == other.fingerprint == one.with_().fingerprint


CHANGES = {
    "pixels": {"samples": samples(first=9.0)},
    "labels": {"samples": Samples(samples().x, torch.zeros(10, dtype=torch.int64))},
    "fewer rows": {"rows": torch.arange(7)},
    "rows in another order": {"rows": torch.arange(8).flip(0)},
    "batch size": {"batch_size": 3},
    "seed": {"seed": 1},
    "shuffle": {"shuffle": True},
    "join": {"join": True},
    "augmentation": {"augment": Shift(2)},
    "no augmentation": {"augment": None},
    "view": {"view": shifting(2)},
    "no view": {"view": None},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_changes_the_batches_changes_the_fingerprint(change):
    assert loader(**change).fingerprint != loader().fingerprint
    assert loader().with_(**change).fingerprint == loader(**change).fingerprint


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_seen_behind_an_origin_too(change):
    named = loader(origin="here")
    assert named.with_(**change).fingerprint != named.fingerprint
    assert named.with_(**change).fingerprint == loader(origin="here").with_(**change).fingerprint


def test_other_changes_behind_one_origin_differ_from_one_another():
    named = loader(origin="here")
    rows = [named.with_(rows=torch.arange(n)).fingerprint for n in (3, 4)]
    views = [named.with_(view=shifting(n)).fingerprint for n in (3, 4)]
    augmented = named.with_(augment=shifting(3)).fingerprint
    assert len({*rows, *views, augmented}) == 5


def test_with_an_origin_nothing_is_looked_at(monkeypatch):
    def look(*tensors):
        raise AssertionError("a tensor was read")

    monkeypatch.setattr(source, "digest", look)
    named = loader(origin="here")
    assert named.fingerprint == loader_fingerprint("here", 4)
    assert named.with_(shuffle=True, seed=3, join=True, batch_size=2).fingerprint == (
        loader_fingerprint("here", 2, shuffle=True, seed=3, join=True)
    )
    assert named.fingerprint != loader(origin="there").fingerprint
    with pytest.raises(AssertionError, match="a tensor was read"):
        _ = loader().fingerprint


def test_a_new_origin_is_taken_as_it_is():
    moved = loader(origin="here").with_(rows=torch.arange(3), origin="there")
    assert moved.fingerprint == loader_fingerprint("there", 4)


def test_a_fingerprint_is_the_same_in_each_process():
    # printf '[1, "a", null, {"b": [2.5]}]' | sha256sum
    assert fingerprint(1, "a", None, {"b": (2.5,)}) == "d16e1c49a89390406c9afc14"


def test_tensors_are_known_by_bytes_type_and_shape_and_not_by_layout():
    t = torch.arange(6.0).view(2, 3)
    assert digest(t) == digest(t.t().contiguous().t()) == digest(t.clone().requires_grad_())
    others = [t + 1, t.double(), t.view(3, 2), t.view(1, 2, 3), t[:1]]
    assert len({digest(other) for other in [t, *others]}) == 6
    assert described(t) == digest(t)


def test_settings_that_look_alike_are_told_apart():
    settings = [1, 1.0, True, "1", None, "None", [1], {"a": 1}, {"a": 2}, [], {}]
    assert len({fingerprint(setting) for setting in settings}) == len(settings)


def test_the_order_of_keys_does_not_count():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


def test_functions_and_classes_are_their_path():
    assert described(nn.ReLU) == ["torch.nn.modules.activation.ReLU"]
    assert described(digest) == ["antidote.core.data.digest"]


def test_a_partial_is_its_function_and_what_is_filled_in():
    fills = [functools.partial(print, 1), functools.partial(print, 2), functools.partial(print)]
    fills += [functools.partial(print, sep=""), functools.partial(repr, 1)]
    assert len({fingerprint(fill) for fill in fills}) == 5
    assert fingerprint(functools.partial(print, 1)) == fingerprint(functools.partial(print, 1))


def test_a_closure_is_known_by_what_it_holds():
    assert fingerprint(shifting(1)) == fingerprint(shifting(1)) != fingerprint(shifting(2))
    assert fingerprint(shifting(torch.ones(2))) != fingerprint(shifting(torch.zeros(2)))


def test_an_object_is_its_class_and_attributes():
    other = type("Other", (), {"__init__": Shift.__init__})
    assert fingerprint(Shift(1)) == fingerprint(Shift(1))
    assert len({fingerprint(thing) for thing in (Shift(1), Shift(2), other(1))}) == 3


def test_a_bound_method_is_known_by_its_object():
    one, again, other = (Shift(by).stamped for by in (1, 1, 2))
    assert fingerprint(one) == fingerprint(again) != fingerprint(other)


def test_defaults_of_a_function_count():
    def views(by):
        return [lambda x, rows, by=by: x + by, functools.partial(lambda x, *, by: x, by=by)]

    def keyword(by):
        def view(x, rows, *, by=by):
            return x + by

        return view

    assert fingerprint(views(1)) == fingerprint(views(1))
    for one, other in zip([*views(1), keyword(1)], [*views(2), keyword(2)], strict=True):
        assert fingerprint(one) != fingerprint(other)


def test_two_lambdas_of_one_place_are_told_apart():
    def views():
        return [lambda x, rows: x + 1, lambda x, rows: x + 2, lambda x, rows: -x]

    assert len({fingerprint(view) for view in views()}) == 3
    assert fingerprint(views()) == fingerprint(views())


@pytest.mark.parametrize(
    "thing",
    [object(), {1, 2}, b"bytes", torch.Generator(), iter([1]), [1, object()]],
    ids=lambda thing: type(thing).__name__,
)
def test_what_has_no_stable_name_is_refused(thing):
    with pytest.raises(TypeError, match="cannot be part of a fingerprint"):
        fingerprint(thing)
