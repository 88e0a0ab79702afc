"""What the two presets make of the methods, read from the composed configuration."""

import pytest
from test_every_option import composed

BOTH = {  # overrides, key: under preset=fixed, under preset=reference
    ("unlearning=xlf_ptn", "unlearning.augment"): (False, True),
    ("unlearning=xlf_ptn", "unlearning.method.augment"): (False, True),
    ("unlearning=ssd", "unlearning.augment"): (False, True),
    ("unlearning=retrain", "unlearning.hold_out"): (0.0, 0.1),
    ("unlearning=scrub_corrective", "unlearning.hold_out"): (0.0, 0.1),
    ("unlearning=assd_repair", "unlearning.then.passes"): (1, 1),
    ("unlearning=assd_repair", "unlearning.then.known_passes"): (0, 1),
    ("unlearning=assd_repair", "unlearning.then.more_steps"): (0, 24),
    ("unlearning=assd_repair", "unlearning.then.broken_off"): (False, True),
    ("unlearning=finetune", "unlearning.fraction"): (0.25, 0.25),
    ("poison=interclass", "poison.rows"): ("random", "first"),
    ("dataset=cifar100", "dataset.statistics"): ("own", "cifar10"),
    ("experiment=corrective_cifar100_interclass", "poison.classes"): ([47, 52], [47, 53]),
}


def value(cfg, key):
    for name in key.split("."):
        cfg = cfg[name]
    return cfg


@pytest.mark.parametrize(("override", "key"), BOTH)
def test_a_preset_decides(override, key):
    found = tuple(value(composed(override, f"preset={p}")[0], key) for p in ("fixed", "reference"))
    assert found == BOTH[override, key]


def test_fixed_is_the_default():
    assert composed()[0] == composed("preset=fixed")[0]


@pytest.mark.parametrize(
    "method", ["finetune", "retrain_k", "finetune_k", "scrub_corrective", "badt"]
)
def test_a_method_trains_for_1000_of_5500_steps_in_the_random_swap(method):
    cfg, *_ = composed("experiment=corrective_random_swap", f"unlearning={method}")
    assert cfg["recipe"]["steps"] == 5500
    assert round(cfg["unlearning"]["fraction"] * 5500) == 1000
