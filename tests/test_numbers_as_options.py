"""poison_rate=0.03 and discovery=7: the obvious spelling works, and names tell what acted."""

import json
from pathlib import Path

import pytest
from forks import typed
from hydra import compose, initialize_config_dir
from hydra.errors import MissingConfigException
from mlflow import MlflowClient

from antidote.engine.labels import discovery, rate, run_name
from hydra_plugins.antidote_plugins import at_home, quoted

CONF = str(Path(__file__).parents[1] / "conf")


@pytest.fixture(scope="module")
def composed():
    """`composed(*typed)`: settings and choices, of what the shell hands over."""
    places = [f"hydra.runtime.{name}=/nowhere" for name in ("cwd", "output_dir")]

    def composed(*arguments):
        said = [*map(quoted, arguments), *places]
        cfg = compose("config", said, return_hydra_config=True)
        return cfg, cfg.hydra.runtime.choices

    with initialize_config_dir(CONF, version_base="1.3"):
        yield composed


@pytest.mark.parametrize("number", ["0.03", "0.005", "1e-3", ".5", "1", "0.2"])
def test_a_number_is_a_poison_rate(composed, number):
    cfg, _ = composed(f"poison_rate={number}")
    assert cfg.poison_rate == cfg.poison.rate == float(number)


@pytest.mark.parametrize("share", ["0.15", "1.0", ".3", "1e-2"])
def test_a_number_with_a_point_is_the_share_discovered(composed, share):
    known = composed(f"discovery={share}")[0].discovery
    assert (known.share, known.get("count")) == (float(share), None)


@pytest.mark.parametrize("count", ["1", "7", "40"])
def test_a_whole_number_is_the_count_discovered(composed, count):
    known = composed(f"discovery={count}")[0].discovery
    assert (known.get("share"), known["count"]) == (None, int(count))


SAME = [("poison_rate=0.01", "poison_rate=1pct"), ("discovery=0.1", "discovery=10pct")]
SAME += [("discovery=1", "discovery=one"), ("poison_rate=0.005", "poison_rate=0_5pct")]
SAME += [("budget=0.1", "budget=10pct"), ("budget=2e-2", "budget=2pct")]


@pytest.mark.parametrize(("number", "option"), SAME)
def test_a_number_and_the_option_of_that_value_are_one_setting(composed, number, option):
    one, other = composed(number)[0], composed(option)[0]
    assert one.poison == other.poison
    assert one.budget == other.budget
    assert {**one.discovery} == {**other.discovery}


OTHERS = ["poison.rate=0.03", "seed=7", "+note=poison_rate=0.3", "unlearning=xlf"]
OTHERS += ["discovery=ids", "discovery.share=0.3", "-m"]


@pytest.mark.parametrize("argument", OTHERS)
def test_what_is_no_number_of_such_a_group_is_left_as_it_was_typed(argument):
    assert quoted(argument) == argument


def test_numbers_and_options_may_stand_side_by_side():
    assert quoted("poison_rate=0.03,1pct,2") == "poison_rate='0.03',1pct,'2'"


NO_OPTIONS = ["model=3", "unlearning=-0.1", "+experiment=7", "tracing=true", "recipe=null"]
NO_OPTIONS += ["budget=-inf", "budget=10", "budget=0"]


@pytest.mark.parametrize("argument", NO_OPTIONS)
def test_what_is_no_option_of_a_group_is_refused_by_its_name(composed, argument):
    group, option = argument.lstrip("+").split("=")
    with pytest.raises(MissingConfigException, match=f"Could not find '{group}/{option}'"):
        composed(argument)


HOME = str(Path.home())
AT_HOME = {
    "output=~/x": f"output={HOME}/x",
    "output=~": f"output={HOME}",
    "output='~/with space'": f"output='{HOME}/with space'",
    "note=a~b": "note=a~b",
    "~trainer.benchmark": "~trainer.benchmark",
    "output=/x/~y": "output=/x/~y",
}


@pytest.mark.parametrize("argument", AT_HOME)
def test_home_is_spelled_out_where_a_shell_has_not_done_it(argument):
    assert at_home(argument) == AT_HOME[argument]


NAMES = {
    "": "xlf_ptn 10 % badnets 1 % fashion_mnist seed 0",
    "poison_rate=0.03 discovery=0.15 seed=4": "xlf_ptn 15 % badnets 3 % fashion_mnist seed 4",
    "poison.rate=0.1 discovery=7": "xlf_ptn 7 samples badnets 10 % fashion_mnist seed 0",
    "discovery.share=0.2 unlearning=ssd": "ssd 20 % badnets 1 % fashion_mnist seed 0",
    "discovery=one poison=label_noise": "xlf_ptn one sample label_noise 1 % fashion_mnist seed 0",
    "poison=none discovery=ids discovery.ids=[1]": (
        "xlf_ptn named samples none fashion_mnist seed 0"
    ),
}


@pytest.mark.parametrize("overrides", NAMES)
def test_a_run_is_called_by_the_values_that_acted(composed, overrides):
    cfg, choices = composed(*overrides.split())
    assert run_name(cfg, choices) == NAMES[overrides]


def test_labels_do_not_show_the_option_that_an_override_has_left_behind(composed):
    cfg, choices = composed("poison_rate=1pct", "poison.rate=0.1", "discovery.share=0.5")
    assert rate(cfg) == 0.1
    assert discovery(cfg, choices["discovery"]) == "50 %"


@pytest.fixture(scope="module")
def done(small, tmp_path_factory):
    """(record, name in MLflow) of a run through the command line."""
    output = tmp_path_factory.mktemp("numbers")
    quick = ["unlearning=none", "pictures=false", "save_models=false", f"output={output}"]
    ended = typed(*small, *quick, "poison_rate=0.03", "discovery=7", f"hydra.run.dir={output}/run")
    assert ended.returncode == 0, ended.stderr
    client = MlflowClient(f"sqlite:///{output}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("antidote").experiment_id])
    return json.loads((output / "run/result.json").read_text()), run.info.run_name


def test_numbers_that_are_typed_act(done):
    assert (done[0]["n_poisoned"], done[0]["n_known"]) == (18, 7)


def test_the_run_is_called_by_them(done):
    assert done[1] == "none 7 samples badnets 3 % digits seed 0"


def test_the_command_of_its_record_can_be_typed_again(done):
    assert "poison_rate=0.03" in done[0]["command"].replace("'", "").replace('"', "")
    assert "discovery=7" in done[0]["command"].replace("'", "").replace('"', "")
