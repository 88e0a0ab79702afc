"""What MLflow is sent of a record."""

from made_records import record, traced

from antidote.engine.labels import run_name, tags
from antidote.engine.sent import numbers, parameters, tables


def test_numbers_are_the_records_own():
    found = numbers(record("a", before={"test/accuracy": 0.9, "trigger/success": 1.0}))
    assert found["healed_train"] == 0.8
    assert found["seconds"] == found["seconds/unlearn"] == 6.0
    assert found["before/trigger_success"] == 1.0
    assert found["search/tries"] == 7
    assert "seed" not in found


def test_of_tracing_there_is_something_where_there_was_some():
    with_one, without = numbers(traced("a", "fall")), numbers(traced("b", "none", rows=0))
    assert (with_one["tracing/recall"], with_one["tracing/evidence_distance"]) == (0.9, 11.0)
    assert with_one["seconds"] == 9.0
    assert not [name for name in without if name.startswith("tracing/re")]


def test_each_class_and_each_target_is_a_row_of_a_table_and_no_number():
    before = {"test/class_accuracy/0": 0.1, "test/class_accuracy/1": 0.2, "targets/true/0": 0.0}
    after = {"test/class_accuracy/1": 0.4, "targets/true/0": 1.0, "targets/true/10": 1.0}
    made = record("a", before=before, after=after, ceiling={"test/class_accuracy/0": 0.5})
    assert tables(made) == {
        "class_accuracy": {
            "class": ["ant", "bee"],
            "test before": [0.1, 0.2],
            "test never poisoned": [0.5, None],
            "test after": [None, 0.4],
        },
        "targets": {"number": [0, 10], "true before": [0.0, None], "true after": [1.0, 1.0]},
    }
    assert not [name for name in numbers(made) if name.startswith(("before/", "after/"))]


def test_parameters_are_without_what_only_hydra_reads():
    settings = {
        "seed": 0,
        "a": {"_target_": "x.Y", "_partial_": True, "b": 1, "c": {"_target_": "x.Z"}},
        "chain": [{"_target_": "x.Y", "d": 2}, {"e": {"f": [1, 2]}}],
        "ids": [1, 2],
    }
    told = parameters(settings)
    assert told == {
        "seed": 0,
        "a.b": 1,
        "a.c": {},
        "chain.0.d": 2,
        "chain.1.e.f": [1, 2],
        "ids": [1, 2],
    }


SETTINGS = {
    "seed": 3,
    "dataset": {"limit": 600},
    "model": {"net": {"width": 0.25}},
    "poison": {"rate": 0.05, "target_class": 2},
    "discovery": {"share": 0.3},
    "tracing": {"distance": 3},
    "unlearning": {"rho": 0.1, "seed": 3, "cutoff": {"value": 5}},
    "recipe": {"epochs": 2},
}
CHOICES = {
    "dataset": "digits",
    "model": "resnet9",
    "poison": "badnets",
    "poison_rate": "1pct",
    "discovery": "10pct",
    "tracing": "fall",
    "unlearning": "xlf_ptn",
    "budget": "4pct",
}


def test_tags_tell_the_values_that_acted_and_what_was_typed_below_an_option():
    typed = ["poison.rate=0.05", "discovery.share=0.3", "+unlearning.rho=${x}", "model.net.width=1"]
    typed += ["tracing.distance=3", "recipe.epochs=2", "poison.target_class=9"]
    assert tags(SETTINGS, CHOICES, typed) == {
        "dataset": "digits",
        "model": "resnet9, width 0.25",
        "poison": "badnets, target_class 2",
        "rate": "5 %",
        "discovery": "30 %",
        "tracing": "fall, distance 3",
        "unlearning": "xlf_ptn, rho 0.1",
        "seed": "3",
    }


def test_tags_of_a_cell_without_poison_or_tracer():
    settings = SETTINGS | {"poison": {}, "discovery": {"ids": [1]}}
    found = tags(settings, {**CHOICES, "poison": "none", "tracing": "none"}, [])
    assert (found["rate"], found["tracing"], found["discovery"]) == (
        "none",
        "none",
        "named samples",
    )


NAMES = {
    (): "xlf_ptn traced by fall 30 % badnets 5 % digits seed 3",
    ("seed",): "seed 3 | xlf_ptn traced by fall 30 % badnets 5 % digits",
    ("poison_rate", "tracing"): "5 % xlf_ptn traced by fall | 30 % badnets digits seed 3",
    ("unlearning", "tracing"): "xlf_ptn traced by fall | 30 % badnets 5 % digits seed 3",
    ("+unlearning.rho", "model"): (
        "rho 0.1 resnet9 | xlf_ptn traced by fall 30 % badnets 5 % digits seed 3"
    ),
    ("budget", "recipe.epochs"): (
        "budget 4pct epochs 2 | xlf_ptn traced by fall 30 % badnets 5 % digits seed 3"
    ),
    ("unlearning.cutoff", "~note"): (
        "cutoff {'value': 5} note null | xlf_ptn traced by fall 30 % badnets 5 % digits seed 3"
    ),
}


def test_in_a_name_comes_first_what_differs_in_the_sweep():
    assert {axes: run_name(SETTINGS, CHOICES, axes) for axes in NAMES} == NAMES


def test_a_name_that_was_given_follows_what_differs():
    assert run_name(SETTINGS, CHOICES, (), "mine") == "mine"
    assert run_name(SETTINGS, CHOICES, ("seed",), "mine") == "seed 3 | mine"
