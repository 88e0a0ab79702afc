"""The same configuration gives the same weights bit for bit, whichever way they come about."""

import pytest
import torch
from safetensors.torch import load_file

HARD = ["poison.rate=0.1", "discovery=50pct"]  # so that there is something to unlearn


def bits(left, name="unlearned"):
    return (left.folder / f"{name}.safetensors").read_bytes()


@pytest.mark.parametrize("method", ["xlf_ptn", "retrain", "finetune"])
def test_a_trained_and_a_restored_victim_unlearn_to_the_same_bits(run, method):
    trained, restored = run(f"unlearning={method}", *HARD), run(f"unlearning={method}", *HARD)
    assert "fit" not in trained["cached"]
    assert "fit" in restored["cached"]
    assert bits(trained) == bits(restored) != bits(trained, "victim")


@pytest.mark.parametrize("mode", ["off", "refresh"])
def test_a_run_without_the_cache_gives_the_same_bits_as_one_with_it(run, mode):
    cached, fresh = run(*HARD), run(*HARD, f"cache={mode}")
    assert fresh["cached"] == []
    assert bits(cached) == bits(fresh)
    assert bits(cached, "victim") == bits(fresh, "victim")


def test_a_victim_from_a_file_unlearns_to_the_same_bits(run):
    trained = run(*HARD)
    brought = run(*HARD, f"victim={trained.folder}/victim.safetensors", "cache=off")
    assert brought["seconds"]["fit"] is None
    assert bits(trained) == bits(brought)


def test_another_seed_gives_another_result(run):
    assert bits(run(*HARD)) != bits(run(*HARD, "seed=1"))


def test_another_seed_of_the_method_leaves_the_victim_as_it_is(run):
    one, other = run("unlearning=retrain"), run("unlearning=retrain", "unlearning.seed=1")
    assert bits(one, "victim") == bits(other, "victim")
    assert bits(one) != bits(other)


def test_doing_nothing_leaves_the_cached_victim_bit_for_bit(run, tmp_path):
    left = run("unlearning=none")
    (entry,) = (tmp_path / "output/store/victims").glob("*.safetensors")
    kept, victim = load_file(entry), load_file(left.folder / "victim.safetensors")
    assert bits(left) == bits(left, "victim")
    assert kept.keys() == victim.keys()
    assert all(torch.equal(kept[name], victim[name]) for name in kept)


def test_the_same_run_has_the_same_config_hash_wherever_it_happens(run, tmp_path):
    here, there = run(), run(f"output={tmp_path}/elsewhere", "cache=off")
    assert here["config_hash"] == there["config_hash"] != run("seed=1")["config_hash"]


@pytest.mark.parametrize(
    "change", ["unlearning=ssd", "discovery=one", "save_models=false", "progress=true"]
)
def test_a_victim_is_not_fitted_again_for_what_does_not_change_it(run, change):
    run()
    assert "fit" in run(change)["cached"]


@pytest.mark.parametrize("change", ["poison.size=2", "seed=1", "recipe.epochs=2"])
def test_a_victim_is_fitted_again_for_what_changes_it(run, change):
    run()
    assert "fit" not in run(change)["cached"]


@pytest.mark.slow
def test_parallel_jobs_give_the_same_bits_as_jobs_in_turn(cli, small, tmp_path):
    found = {}
    for launcher in ("basic", "joblib"):
        place = [f"output={tmp_path}/{launcher}", f"hydra.sweep.dir={tmp_path}/{launcher}/sweep"]
        size = [*small, "threads=2", "logger=none", *HARD]
        done = cli("-m", f"hydra/launcher={launcher}", *size, *place, "seed=0,1")
        assert done.returncode == 0, done.stderr
        found[launcher] = [
            (tmp_path / launcher / "sweep" / job / "unlearned.safetensors").read_bytes()
            for job in "01"
        ]
    assert found["basic"] == found["joblib"]
    assert found["basic"][0] != found["basic"][1]


def test_the_config_hash_does_not_depend_on_where_or_how_fast_it_runs(run, tmp_path):
    elsewhere = [f"output={tmp_path}/other", "data_folder=/other", "progress=true", "cache=off"]
    first, second, third = run(), run(*elsewhere), run("seed=1")
    assert first["config_hash"] == second["config_hash"] != third["config_hash"]
