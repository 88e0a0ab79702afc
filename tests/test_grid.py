"""The cells of a sweep and their configs are those that Hydra's own sweeper hands to the jobs."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import OmegaConf, open_dict
from sweeps import CONF, set_up

from antidote.config import content, identity, short_hash
from antidote.grid import Interpolated, cells, composer, merge

EXPERIMENTS = sorted(p.stem for p in (CONF / "experiment").glob("*.yaml"))
METHODS = sorted(p.stem for p in (CONF / "unlearning").glob("*.yaml"))


def by_hydra(overrides):
    """The identity of a job whose config Hydra itself composes."""
    places = [f"hydra.runtime.{name}=/nowhere" for name in ("cwd", "output_dir")]
    loader = GlobalHydra.instance().config_loader()
    cfg = loader.load_configuration("config", [*overrides, *places], RunMode.RUN)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return identity(cfg)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_cells_of_an_experiment_are_those_of_hydras_sweeper(experiment):
    with set_up(f"experiment={experiment}", "seed=0,1") as cfg:
        axes = BasicSweeper._parse_config(SimpleNamespace(params=cfg.hydra.sweeper.params or {}))
        said = [*axes, f"experiment={experiment}", "seed=0,1"]
        parsed = OverridesParser.create().parse_overrides(said)
        assert cells() == BasicSweeper.split_arguments(parsed, None)[0]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_cell_has_the_config_hash_that_hydra_would_give_it(experiment):
    with set_up(f"experiment={experiment}"):
        jobs = cells()
        some = jobs[:: max(1, len(jobs) // 4)]
        with composer() as compose:
            ours = [identity(compose(job)) for job in some]
        assert ours == [by_hydra(job) for job in some]


def test_every_method_has_the_config_hash_that_hydra_would_give_it():
    jobs = [[f"unlearning={name}", "poison_rate=2pct", "+unlearning.x=1"] for name in METHODS]
    with set_up():
        with composer() as compose:
            ours = [identity(compose(job)) for job in jobs]
        assert ours == [by_hydra(job) for job in jobs]


def test_an_edit_of_one_cell_is_not_seen_by_the_next():
    job = ["experiment=potion_small", "unlearning=jit"]
    with set_up(), composer() as compose:
        first = identity(compose([*job, "unlearning.recipe.epochs=99"]))
        second = identity(compose(job))
        assert second != first
        assert identity(compose(job)) == second


def test_afterwards_the_sweep_is_still_set_up():
    with set_up("experiment=potion_small"):
        before = HydraConfig.get()
        with composer() as compose:
            compose(["unlearning=none"])
            assert HydraConfig.get().runtime.choices.unlearning == "none"
        assert HydraConfig.get() is before


@pytest.mark.parametrize(
    ("first", "then", "merged"),
    [
        ({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}}),
        ({"a": {"b": 1}}, {"a": 3}, {"a": 3}),
        ({"a": 1}, {"a": "???"}, {"a": 1}),
        ({}, {"a": "???"}, {"a": "???"}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": None}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": {"b": 1}}, {"a": None}, {"a": None}),
    ],
)
def test_settings_merge_as_hydra_merges_them(first, then, merged):
    expected = OmegaConf.to_container(OmegaConf.merge(first, then))
    merge(first, then)
    assert first == merged == expected


def test_settings_over_a_reference_are_left_to_hydra():
    with pytest.raises(Interpolated):
        merge({"a": "${b}"}, {"a": {"c": 1}})


def test_a_flag_that_a_method_does_not_refer_to_leaves_its_cell():
    with set_up(), composer() as compose:

        def cell(method, rho):
            return short_hash(content(compose([f"unlearning={method}", f"flags.rho={rho}"])))

        assert cell("retrain", 0.1) == cell("retrain", 0.2)
        assert cell("xlf_ptn", 0.1) != cell("xlf_ptn", 0.2)
        # whether rho is given by the flag or by the method's own key
        own = compose(["unlearning=xlf_ptn", "unlearning.rho=0.1"])
        assert short_hash(content(own)) == cell("xlf_ptn", 0.1)


def test_no_code_reads_a_flag():
    source = Path(CONF).parent / "src"
    assert not [p for p in source.rglob("*.py") if "cfg.flags" in p.read_text()]
