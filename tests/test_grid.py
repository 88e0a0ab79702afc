"""The cells of a sweep and their configs are those that Hydra's own sweeper hands to the jobs."""

import re
from types import SimpleNamespace

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import open_dict
from sweeps import CONF, set_up

from antidote.core import BadInput
from antidote.engine.cell import resolved
from antidote.sweeps.grid import Composer, axes, cells, clashing, composer, jobs, leaves, tree

EXPERIMENTS = sorted(p.stem for p in (CONF / "experiment").glob("*.yaml"))
METHODS = sorted(p.stem for p in (CONF / "unlearning").glob("*.yaml"))


def by_hydra(overrides):
    """(content, choices) of a job whose config Hydra itself composes."""
    places = [f"hydra.runtime.{name}=/nowhere" for name in ("cwd", "output_dir")]
    loader = GlobalHydra.instance().config_loader()
    cfg = loader.load_configuration("config", [*overrides, *places], RunMode.RUN)
    HydraConfig.instance().set_config(cfg)
    choices = {k: str(v) for k, v in cfg.hydra.runtime.choices.items()}
    with open_dict(cfg):
        del cfg["hydra"]
    return resolved(cfg)[1], choices


def ours(cell):
    return cell.content, cell.choices


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_jobs_of_an_experiment_are_those_of_hydras_sweeper(experiment):
    with set_up(f"experiment={experiment}", "seed=0,1") as cfg:
        axes = BasicSweeper._parse_config(SimpleNamespace(params=cfg.hydra.sweeper.params or {}))
        said = [*axes, f"experiment={experiment}", "seed=0,1"]
        parsed = OverridesParser.create().parse_overrides(said)
        assert [list(job) for job in jobs()] == BasicSweeper.split_arguments(parsed, None)[0]


SMALL = [e for e in EXPERIMENTS if e.endswith(("_small", "_smoke"))]
LARGE = [pytest.param(e, marks=pytest.mark.slow) for e in EXPERIMENTS if e not in SMALL]


@pytest.mark.parametrize("experiment", [*SMALL, *LARGE])
def test_a_cell_is_what_hydra_would_compose(experiment):
    with set_up(f"experiment={experiment}"):
        some = jobs()[:: max(1, len(jobs()) // 3)]
        with composer() as composed:
            found = list(map(composed(axes()), some))
        assert [ours(cell) for cell in found] == [by_hydra(job) for job in some]


@pytest.mark.parametrize(
    "typed",
    [
        ["recipe=one_cycle,potion", "dataset=digits,fashion_mnist"],  # digits brings a recipe
        ["dataset=digits,fashion_mnist", "recipe=one_cycle,potion", "seed=0,1"],
        ["poison=badnets,none", "poison_rate=1pct,2pct", "discovery=one,10pct"],
        ["experiment=smoke,potion_small", "seed=0,1"],
        ["unlearning=xlf_ptn,retrain", "+unlearning.x=1,2", "flags.rho=0.1,0.2"],
        ["preset=fixed,reference", "unlearning=xlf_ptn,assd_repair", "flags.rho=0.1,0.2"],
        ["model=resnet9,resnet18", "logger=none,mlflow", "cache=on,off"],
        ["recipe.epochs=1,2", "recipe=one_cycle,potion", "recipe.batch_size=8,16"],
        ["poison.rate=0.1,0.2", "poison.size=2,3", "poison_rate='0.03',1pct"],
        ["seed=1,2", "poison.target_class=${seed},0,null", "victim=null,a/b,'x y',1"],
        ["poison.size=2,3", "poison={size:5}", "seed=0,1"],  # set again by what contains it
        ["discovery=ids", "discovery.ids=[1,2],[3],[]", "recipe.epochs=1,1.5,2e3"],
        ["unlearning=xlf,ssd", "unlearning.strength=0.5,1,2", "seed=0,1"],
    ],
    ids=lambda typed: " ".join(typed),
)
def test_axes_that_touch_the_same_settings_are_composed_together(typed):
    with set_up(*typed):
        assert [ours(cell) for cell in cells()] == [by_hydra(job) for job in jobs()]


def test_every_method_is_what_hydra_would_compose():
    with set_up(f"unlearning={','.join(METHODS)}", "poison_rate=2pct", "+unlearning.x=1"):
        found = cells()
        assert len(found) == len(METHODS)
        assert [ours(cell) for cell in found] == [by_hydra(cell.overrides) for cell in found]


def test_hydra_composes_about_as_often_as_there_are_options_and_not_once_per_job(monkeypatch):
    asked = []
    composed = Composer.composed

    def counted(self, job):
        asked.append(job)
        return composed(self, job)

    monkeypatch.setattr(Composer, "composed", counted)
    with set_up("seed=0,1,2,3", "discovery=one,10pct,20pct", "unlearning=none,ssd,xlf"):
        assert len(cells()) == 36
    assert len(set(asked)) == 1 + 2 + 2  # a number in place of another needs no composing


def test_afterwards_the_sweep_is_still_set_up():
    with set_up("experiment=potion_small"):
        before = HydraConfig.get()
        with composer() as composed:
            composed([["unlearning=none", "unlearning=ssd"]])(("unlearning=ssd",))
            assert HydraConfig.get().runtime.choices.unlearning == "ssd"
        assert HydraConfig.get() is before


def test_an_axis_without_values_is_refused():
    with set_up("seed=interval(0,1)"), pytest.raises(BadInput, match="has no list of values"):
        cells()


def test_what_hydra_refuses_is_refused():
    with set_up(), pytest.raises(ConfigCompositionException), composer() as composed:
        composed([["poison.rat=1", "poison.rat=2"]])


@pytest.mark.parametrize("config", [{"a": {"b": 1, "c": []}, "d": {}}, {"a": None}, {"a": [1, {}]}])
def test_a_config_taken_apart_is_put_together_again(config):
    assert tree(leaves(config)) == config


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ({("a",): 1}, {("b",): 1}, None),
        ({("a",): 1}, {("a",): 2}, (0, 1)),
        ({("a", "b"): 1}, {("a",): 2}, (0, 1)),
        ({("a", "b"): 1}, {("a", "c"): 2}, None),
    ],
)
def test_axes_clash_if_they_touch_the_same_or_what_is_below_it(one, other, clash):
    assert clashing([{("v",): [one, {}]}, {("v",): [other, {}]}]) == clash


def test_a_flag_that_a_method_does_not_refer_to_leaves_its_cell():
    with set_up("unlearning=retrain,xlf_ptn", "flags.rho=0.1,0.2"):
        hashes = [cell.config_hash for cell in cells()]
    assert hashes[0] == hashes[1]
    assert hashes[2] != hashes[3]
    with set_up("unlearning=xlf_ptn", "unlearning.rho=0.1"):  # by the method's own key
        assert cells()[0].config_hash == hashes[2]


def test_no_code_reads_a_flag():
    source = CONF.parent / "src"
    assert not [
        p for p in source.rglob("*.py") if "flags" in re.findall(r"cfg\.(\w+)", p.read_text())
    ]
