"""The nets beside ResNet-9, counted by hand, and what is particular to each."""

from functools import partial

import pytest
import torch
from small_nets import MEAN, SMALL, STD, images, timm_net
from torch import nn

from antidote.core import BadInput
from antidote.model.basic_block import Basic
from antidote.model.resnet18 import ResNet18
from antidote.model.resnet_cifar import Padded, ResNetCifar
from antidote.model.wide_resnet import Wide, WideResNet


def parameters(net):
    return sum(w.numel() for w in net.parameters())


# a convolution i -> o has 9 i o + o (bias), a batch norm of c 2 c, a 1x1 shortcut i o + o + 2 o
# stem 448 | 16->160 257,152 and 3 of 160 1,385,280 | 160->320 1,436,160 and 3 of 320 5,535,360
# 320->640 5,739,520 and 3 of 640 22,129,920 | linear 641 K
@pytest.mark.parametrize(("num_classes", "count"), [(100, 36_547_940), (10, 36_490_250)])
def test_wide_resnet_28_10_has_the_references_parameters(num_classes, count):
    with torch.device("meta"):
        net = WideResNet(num_classes, MEAN, STD, depth=28, widen=10)
    assert parameters(net) == count
    # stem 2, twelve blocks of 8, three shortcuts of 4, linear 2
    assert len(list(net.parameters())) == 112


# stem 3*64*9 + 128 = 1,856 | 64: 147,968 | 128: 525,568 | 256: 2,099,712 | 512: 8,393,728
# linear 512*10 + 10 = 5,130; no convolution has a bias
def test_resnet18_has_the_usual_parameters():
    net = ResNet18(10, MEAN, STD, width=64)
    assert parameters(net) == 11_173_962
    assert len(list(net.parameters())) == 62  # 20 convolutions, 20 batch norms of 2, linear 2


# stem 464 | 16: 2n of 2,336 | 32: 4,672 and 2n - 1 of 9,280 | 64: 18,560 and 2n - 1 of 36,992
# linear 650: together 97,216 n - 21,926 with n = (depth - 2) / 6
@pytest.mark.parametrize(
    ("depth", "count"),
    [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)],
)
def test_a_narrow_resnet_has_its_depths_parameters(depth, count):
    net = ResNetCifar(10, MEAN, STD, depth)
    assert parameters(net) == count
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth


def test_vit_b16_has_the_papers_86_million_parameters():
    # patches 768*768 + 768, class token 768, 197 positions of 768, last norm 1,536, linear 7,690;
    # twelve blocks of 4 norms' vectors 3,072, qkv 1,771,776, out 590,592, MLP 4,722,432
    with torch.device("meta"):
        net = timm_net(10, MEAN, STD, name="vit_base_patch16_224", image_size=224)
    blocks = 12 * (3_072 + 1_771_776 + 590_592 + 4_722_432)
    assert parameters(net) == 590_592 + 768 + 197 * 768 + 1_536 + 7_690 + blocks == 85_806_346


def test_all_biases_of_a_wide_resnets_layers_start_at_0():
    net = SMALL["WideResNet"](4, MEAN, STD)
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 1 + 2 * 6 + 3 + 1  # the first of three stages is narrower than the stem
    assert not any(m.bias.any() for m in layers)


def test_nothing_is_activated_after_a_sum_of_a_wide_resnet():
    layer = Wide(2, 2, 1).eval()
    for w in layer.branch[5].parameters():
        nn.init.zeros_(w)
    x = images(1, 2, 4, 4) - 0.5
    assert torch.equal(layer(x), x)


def test_the_stride_of_a_wide_block_is_on_its_second_convolution():
    layer = Wide(2, 3, 2)
    assert [layer.branch[i].stride for i in (2, 5)] == [(1, 1), (2, 2)]
    assert layer(images(1, 2, 8, 8)).shape == (1, 3, 4, 4)


def test_a_wide_resnet_pools_32_pixels_as_the_reference_does():
    net = SMALL["WideResNet"](4, MEAN, STD).eval()
    features = net.blocks(net.stem(net.normalize(images(2, 3, 32, 32))))
    assert features.shape[2:] == (8, 8)
    logits = net.head[2](nn.AvgPool2d(8)(features).flatten(1))
    torch.testing.assert_close(net(images(2, 3, 32, 32)), logits)


def test_shortcut_a_takes_every_second_pixel_and_adds_channels_of_zeros():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert Padded(1, 2)(x).tolist() == [[[[0, 2], [8, 10]], [[0, 0], [0, 0]]]]


def test_a_basic_block_is_activated_after_its_sum():
    layer = Basic(1, 1, 1, nn.Identity()).eval()
    nn.init.zeros_(layer.branch[2][0].weight)
    assert layer(torch.tensor([[[[-1.0, 2.0]]]])).tolist() == [[[[0.0, 2.0]]]]


@pytest.mark.parametrize(("net", "side"), [("ResNet18", 4), ("ResNetCifar", 8)])
def test_the_stem_keeps_every_pixel_and_later_stages_halve(net, side):
    made = SMALL[net](4, MEAN, STD).eval()
    stem = made.stem(images(1, 3, 32, 32))
    assert stem.shape[2:] == (32, 32)
    assert made.blocks(stem).shape[2:] == (side, side)


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (partial(WideResNet, depth=27, widen=10), "depth=27 is not 6 n"),
        (partial(WideResNet, depth=4, widen=10), "depth=4 is not 6 n"),
        (partial(WideResNet, depth=10, widen=0), "widen=0 must be positive"),
        (partial(ResNet18, width=0), "width=0 is not a number of channels"),
        (partial(ResNet18, width=0.5), "width=0.5 is not a number of channels"),
        (partial(ResNetCifar, depth=18), "depth=18 is not 6 n"),
        (partial(ResNetCifar, depth=2), "depth=2 is not 6 n"),
    ],
)
def test_a_shape_that_makes_no_net_is_refused(made, sentence):
    with pytest.raises(BadInput, match=sentence):
        made(10, MEAN, STD)
