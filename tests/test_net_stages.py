"""Where a net can be cut into a frozen front and a tail of k weight layers."""

from itertools import accumulate

import pytest
import torch
from small_nets import MEAN, SMALL, STD, images, timm_net
from torch import nn

from antidote.model.resnet9 import ResNet9
from antidote.model.resnet18 import ResNet18
from antidote.model.resnet_cifar import ResNetCifar
from antidote.model.wide_resnet import WideResNet


def tails(net):
    """The numbers of weight layers that a tail of this net can have."""
    return list(accumulate(layers for _, layers in reversed(net.stages())))


def test_a_resnet9_is_cut_as_in_the_benchmark():
    assert tails(ResNet9(10, MEAN, STD, width=0.1)) == [1, 2, 4, 5, 7, 8, 9]


def test_a_wide_resnet_28_is_cut_between_blocks_as_in_the_benchmark():
    assert tails(WideResNet(10, MEAN, STD, depth=28, widen=0.1)) == [*range(1, 26, 2), 26]


def test_other_resnets_are_cut_between_blocks():
    assert tails(ResNet18(10, MEAN, STD, width=4)) == [*range(1, 18, 2), 18]
    assert tails(ResNetCifar(10, MEAN, STD, depth=20)) == [*range(1, 20, 2), 20]


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        # patches; blocks of queries, keys and values together, output, and two of the MLP; head
        ("vit_tiny_patch16_224", [1, *[4] * 12, 1]),
        ("resnet18", [1, *[2] * 8, 1]),
        ("resnet50", [1, *[3] * 16, 1]),
        # a stage's blocks of 3, and the convolution between two stages, which is no shortcut
        ("convnext_atto", [1, 6, 7, 19, 7, 1]),
    ],
)
def test_a_timm_net_is_cut_between_blocks(name, layers):
    with torch.device("meta"):
        net = timm_net(10, MEAN, STD, name=name, image_size=None)
    assert [n for _, n in net.stages()] == layers


@pytest.mark.parametrize("net", SMALL)
def test_the_stages_hold_every_parameter_once(net):
    made = SMALL[net](4, MEAN, STD)
    held = [id(w) for part, _ in made.stages() for w in part.parameters()]
    assert len(held) == len(set(held))
    assert set(held) == {id(w) for w in made.parameters()}


@pytest.mark.parametrize("net", SMALL)
def test_an_image_passes_the_stages_in_order(net):
    made, passed = SMALL[net](4, MEAN, STD).eval(), []
    for number, (part, _) in enumerate(made.stages()):
        for module in part.modules():
            if list(module.parameters(recurse=False)) and not isinstance(module, nn.ParameterList):
                module.register_forward_hook(lambda *_, number=number: passed.append(number))
    with torch.no_grad():
        made(images(1, 3, 32, 32))
    assert passed == sorted(passed)
    assert set(passed) == set(range(len(made.stages())))


def test_class_token_and_positions_of_a_vit_are_in_its_first_stage():
    made = SMALL["timm's ViT"](4, MEAN, STD)
    first = {id(w) for w in made.stages()[0][0].parameters()}
    assert {id(made.body.cls_token), id(made.body.pos_embed)} < first


def test_a_tail_can_be_drawn_anew_from_a_fresh_net():
    made, fresh = (SMALL["timm's ViT"](4, MEAN, STD) for _ in range(2))
    for (part, _), (other, _) in zip(made.stages(), fresh.stages(), strict=True):
        part.load_state_dict(other.state_dict())
    assert all(
        torch.equal(a, b) for a, b in zip(made.parameters(), fresh.parameters(), strict=True)
    )
