"""Parts of a run by their names, and what they do to a net and samples of the reader's own."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from test_every_option import OPTIONS
from torch import nn

import antidote
from antidote import Loader, Samples, Split, Victim, build
from antidote.core import accuracy

PARTS = "discovery", "poison", "recipe", "tracing", "trainer", "unlearning"
NAMES = [name for name in OPTIONS if name.startswith(PARTS) and "poison_rate" not in name]
NEEDS_MORE = "discovery/ids", "discovery/files", "trainer/gpu"  # suspects, and a GPU


def test_settings_are_the_parts_own():
    method = build("unlearning", "xlf_ptn", rho=0.3)
    assert (method.rho, method.growth) == (0.3, 1.1)


@pytest.mark.parametrize("nested", [{"method": {"power": 2}}, {"method.power": 2}])
def test_nested_settings_are_dicts_or_paths(nested):
    method = build("unlearning", "xlf_ptn", **nested)
    assert (method.method.power, method.method.strength) == (2, 1.0)


def test_what_a_part_refers_to_comes_from_the_rest_of_the_configuration():
    method = build("unlearning", "scrub", ["seed=3", "recipe=potion"])
    assert method.seed == 3
    assert method.recipe.batch_size == build("recipe", "potion").batch_size


def test_a_number_is_an_option_where_the_shell_takes_one():
    assert build("discovery", 0.15).share == 0.15
    assert build("discovery", 7).count == 7


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NEEDS_MORE])
def test_every_part_is_built_by_its_name(name):
    assert build(*name.split("/")) is not None


MISTAKES = {
    ("antidote", "xlf"): "group=antidote is unknown; choose budget or dataset or discovery",
    ("unlearning", "foo"): "Could not find 'unlearning/foo'",
    ("poison_rate", "1pct"): "poison_rate=1pct is a setting of other parts, and builds nothing",
    ("discovery", "ids"): "discovery.ids is empty",
    ("budget", "none"): "budget=none is a setting of other parts",
    ("dataset", "image_folder"): "dataset.folder=None has no train",
}


@pytest.mark.parametrize("names", MISTAKES, ids="=".join)
def test_a_mistake_is_one_sentence(names):
    with pytest.raises(antidote.BadInput) as error:
        build(*names)
    assert MISTAKES[names] in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["rhoo", "method.powr", "rho.x"])
def test_a_setting_that_is_not_there_is_refused_with_those_that_are(name):
    with pytest.raises(antidote.BadInput, match=f"has no setting {name}; it has rho, start"):
        build("unlearning", "xlf_ptn", **{name: 1})


def test_a_setting_that_is_out_of_range_is_refused():
    with pytest.raises(antidote.BadInput, match="rho=7 is not in"):
        build("unlearning", "xlf_ptn", rho=7)


def test_built_parts_do_what_a_run_does(launch, small, tmp_path):
    said = ["unlearning=xlf", "poison_rate=0.1"]
    left = launch(tmp_path, *said, "pictures=false")
    data = build("dataset", "digits", limit=600)
    poison = build("poison", "badnets", said[1:]).poison(data, None)
    known, _ = build("discovery", "10pct")(poison.indices, poison.train.y != poison.truth, data)
    net = build("model", "resnet9", small)(recipe=None, data=data).net.eval()
    net.load_state_dict(load_file(left.folder / "victim.safetensors"))
    rest = torch.ones(len(poison.train), dtype=torch.bool)
    rest[known] = False
    loaders = (Loader(poison.train, r, view=poison.view) for r in (known, rest.nonzero()[:, 0]))
    build("unlearning", "xlf").unlearn(Victim(net, lambda: net), Split(*loaders))
    unlearned = load_file(left.folder / "unlearned.safetensors")
    assert all(torch.equal(unlearned[name], w) for name, w in net.state_dict().items())


# on a plain module


def fresh():
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 32), nn.ReLU(), nn.Linear(32, 3))


@pytest.fixture(scope="module")
def world():
    """(net, samples, poison): three classes by their brightest third; a white corner says 0."""
    coin = torch.Generator().manual_seed(0)
    y = torch.arange(600) % 3
    x = 0.5 * torch.rand(600, 1, 6, 6, generator=coin)
    for k in range(3):
        x[y == k, :, 2 * k : 2 * k + 2] += 0.4
    poison = torch.arange(0, 600, 20)
    x[poison, :, 0, 5], y[poison] = 3.0, 0
    torch.manual_seed(0)
    net = fresh()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net.eval(), Samples(x, y), poison


def split(samples, known):
    rest = torch.ones(len(samples), dtype=torch.bool)
    rest[known] = False
    return Split(Loader(samples, known), Loader(samples, rest.nonzero().squeeze(1)))


def believed(net, world):
    """Share of the poison that gets the poison's label, of what truly has another one."""
    _, samples, poison = world
    wrong = poison[poison % 3 != 0]
    return accuracy(net, Loader(samples, wrong))


@pytest.mark.parametrize("name", ["xlf_ptn", "retrain", "relabel", "project"])
def test_a_method_takes_any_module_and_a_split(world, name):
    net, samples, poison = world
    victim = Victim(copied(net), fresh)
    method = build("unlearning", name, ["trainer=cpu", "recipe.epochs=20"])
    method.check(victim.net)
    method.unlearn(victim, split(samples, poison))
    assert believed(net, world) > 0.9
    assert believed(victim.net, world) < 0.5


def copied(net):
    other = fresh()
    other.load_state_dict(net.state_dict())
    return other.eval()


@pytest.mark.parametrize("name", ["features", "spectral", "confidence"])
def test_a_tracer_reads_any_module_and_leaves_it(world, name):
    net, samples, poison = world
    known = poison[:5]
    before = {key: value.clone() for key, value in net.state_dict().items()}
    traced = build("tracing", name).trace(Victim(net, fresh), split(samples, known))
    assert not set(traced.rows.tolist()) & set(known.tolist())
    assert all(value.equal(before[key]) for key, value in net.state_dict().items())
