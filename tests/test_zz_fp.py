"""Clean victims, for now; see below."""

import numpy as np
import pytest

from antidote.dataset.augment import CropFlip
from antidote.dataset.digits import digits

VICTIMS, SUSPECTS = range(20), (1, 5, 20)


def suspects(y, seed, n):
    """Ids of one class, both drawn."""
    coin = np.random.default_rng([seed, n])
    of_one = (y == int(coin.integers(10))).nonzero().squeeze(1).numpy()
    return sorted(coin.choice(of_one, n, replace=False).tolist())


@pytest.mark.slow
def test_clean_victims_and_innocent_suspects(launch, tmp_path, monkeypatch):
    y = digits(CropFlip(2, 0.0), upscale=2, test_share=0.2, seed=0, limit=None).train.y
    traced = {n: [] for n in SUSPECTS}
    for seed in VICTIMS:
        for n in SUSPECTS:
            left = launch(
                tmp_path,
                "tracing=features",
                "poison=none",
                "unlearning=none",
                "discovery=ids",
                f"discovery.ids={suspects(y, seed, n)}",
                f"seed={seed}",
                "dataset.limit=null",
                "recipe.epochs=8",
                "pictures=false",
                "save_models=false",
            )
            e = left["tracing/evidence"]
            print(seed, n, left["tracing/rows"], round(left["after"]["test/accuracy"], 3), {k: round(v, 1) for k, v in e.items()}, left["seconds"]["trace"], flush=True)
            traced[n].append(left["tracing/rows"])
    print({n: sum(map(bool, rows)) for n, rows in traced.items()})
