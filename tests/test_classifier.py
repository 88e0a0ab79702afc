"""The victim: what it starts from, what it refuses."""

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors.torch import save_file

from antidote.core import BadInput
from antidote.model.classifier import Classifier
from antidote.model.resnet9 import ResNet9
from antidote.recipe import Recipe

RECIPE = Recipe(torch.optim.SGD, torch.optim.lr_scheduler.ConstantLR, batch_size=8, steps=1)


def classifier(data, seed=0, width=0.1, channels_last=False):
    return Classifier(partial(ResNet9, width=width), RECIPE, data, seed, channels_last)


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_seed_decides_the_start(tiny):
    assert same(classifier(tiny).net, classifier(tiny).net)


def test_another_seed_gives_another_start(tiny):
    assert not same(classifier(tiny).net, classifier(tiny, seed=1).net)


def test_the_start_depends_on_nothing_drawn_before(tiny):
    first = classifier(tiny).net
    torch.rand(3)
    assert same(first, classifier(tiny).net)


def test_making_nets_draws_nothing_from_the_global_generator(tiny):
    before = torch.random.get_rng_state()
    classifier(tiny).fresh()
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_fresh_net_has_other_weights_than_the_victims_start(tiny):
    victim = classifier(tiny)
    fresh = victim.fresh()
    assert not torch.equal(fresh.fc.weight, victim.net.fc.weight)
    assert not torch.equal(fresh.conv1[0].weight, victim.net.conv1[0].weight)


def test_a_fresh_net_is_the_same_for_the_same_seed(tiny):
    victim = classifier(tiny)
    assert same(victim.fresh(), victim.fresh())
    assert same(victim.fresh(), classifier(tiny).fresh())


def test_a_fresh_net_leaves_the_victim_alone(tiny):
    victim = classifier(tiny)
    victim.fresh().fc.weight.data.zero_()
    assert victim.net.fc.weight.any()


def test_the_net_has_the_datas_classes_and_statistics(tiny):
    net = classifier(tiny).net
    assert net.fc.weight.shape[0] == tiny.num_classes
    assert torch.equal(net.normalize.mean.flatten(), tiny.facts["mean"])


def test_the_memory_layout_is_a_setting(tiny):
    weights = [classifier(tiny, channels_last=on).net.conv2[0].weight for on in (True, False)]
    assert [w.is_contiguous(memory_format=torch.channels_last) for w in weights] == [True, False]
    assert torch.equal(*weights)


def test_too_small_images_are_refused_before_any_fit(tiny):
    small = replace(tiny, train=replace(tiny.train, x=tiny.train.x[:, :, :8, :8]))
    with pytest.raises(BadInput, match=r"ResNet9 cannot take images of shape \(3, 8, 8\)"):
        classifier(small)


def test_a_new_victim_is_in_training_mode_with_untouched_statistics(tiny):
    net = classifier(tiny).net
    assert net.training
    assert net.conv1[1].num_batches_tracked == 0


@pytest.fixture
def stored(tiny, tmp_path):
    """A file of the victim of seed 7."""
    victim = classifier(tiny, seed=7)
    save_file(victim.net.state_dict(), tmp_path / "victim.safetensors")
    return victim.net, tmp_path / "victim.safetensors"


def test_a_victim_is_restored_from_its_own_file(tiny, stored):
    net, path = stored
    victim = classifier(tiny)
    victim.restore(path)
    assert same(victim.net, net)


def test_another_nets_file_is_refused_with_the_first_difference(tiny, stored):
    # 0.1 and 0.2 of 64 channels
    with pytest.raises(
        BadInput,
        match=r"another net than ResNet9.*conv1\.0\.weight \(\(6, 3, 3, 3\).*\(13, 3, 3, 3\)",
    ):
        classifier(tiny, width=0.2).restore(stored[1])


def test_a_net_with_other_classes_is_refused(tiny, stored):
    with pytest.raises(BadInput, match=r"differ: 1, first fc\.weight"):
        classifier(replace(tiny, classes=("a", "b"))).restore(stored[1])


def test_a_file_that_holds_no_weights_is_refused(tiny, tmp_path):
    (tmp_path / "victim.safetensors").write_bytes(b"nonsense")
    with pytest.raises(BadInput, match="is neither a safetensors file nor"):
        classifier(tiny).restore(tmp_path / "victim.safetensors")


@pytest.mark.parametrize(
    "change",
    [lambda state: state.pop("fc.weight"), lambda state: state.update(extra=torch.ones(1))],
)
def test_a_file_with_a_tensor_missing_or_too_many_is_refused(tiny, stored, change):
    state = dict(stored[0].state_dict())
    change(state)
    save_file(state, stored[1])
    with pytest.raises(BadInput, match="absent"):
        classifier(tiny).restore(stored[1])


def test_a_refused_file_leaves_the_net_as_it_was(tiny, stored):
    victim = classifier(replace(tiny, classes=("a", "b")))
    before = copy.deepcopy(victim.net)
    with pytest.raises(BadInput):
        victim.restore(stored[1])
    assert same(victim.net, before)


def test_a_missing_file_is_refused(tiny, tmp_path):
    with pytest.raises(BadInput, match="is not a file"):
        classifier(tiny).restore(tmp_path / "none.safetensors")
