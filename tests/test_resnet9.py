"""The reference net's shape."""

import pytest
import torch
from torch import nn

from antidote.core import BadInput
from antidote.model.normalize import Normalize
from antidote.model.resnet9 import Residual, ResNet9

MEAN, STD = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])


@pytest.fixture(scope="module")
def net():
    return ResNet9(10, MEAN, STD).eval()


# block i -> o: i*o*k*k + o (convolution) + 2*o (batch norm)
# conv1 3->64 1,920 | conv2 64->128, 5x5 205,184 | res1 2x 128->128 295,680 | conv3 128->256 295,680
# res2 2x 256->256 1,181,184 | conv4 256->128 295,296 | fc 128 K
@pytest.mark.parametrize(("num_classes", "parameters"), [(10, 2_276_224), (100, 2_287_744)])
def test_the_parameters_are_as_many_as_the_references(num_classes, parameters):
    assert sum(w.numel() for w in ResNet9(num_classes, MEAN, STD).parameters()) == parameters


def test_there_are_33_parameter_tensors(net):
    assert len(list(net.parameters())) == 33  # 8 blocks of 4, and fc


def test_the_batch_statistics_are_as_many_as_the_references(net):
    # 2 * (64 + 3 * 128 + 3 * 256 + 128) + 8 counters; mean and std are ours
    assert (
        sum(b.numel() for name, b in net.named_buffers() if not name.startswith("normalize"))
        == 2_696
    )


def test_convolution_biases_start_at_0(net):
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 8
    assert not any(m.bias.any() for m in convolutions)


def test_the_last_layer_has_no_bias(net):
    assert net.fc.bias is None


def test_the_width_scales_all_channels():
    half = {
        n: w.shape[0]
        for n, w in ResNet9(10, MEAN, STD, width=0.5).named_parameters()
        if n != "fc.weight"
    }
    full = {n: w.shape[0] for n, w in ResNet9(10, MEAN, STD).named_parameters() if n != "fc.weight"}
    assert {n: 2 * o for n, o in half.items()} == full


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("conv1", (64, 32, 32)),
        ("conv2", (128, 16, 16)),
        ("conv3", (256, 8, 8)),
        ("conv4.0", (128, 6, 6)),
    ],
)
def test_stages_have_the_references_resolution(net, layer, shape):
    seen = []
    handle = net.get_submodule(layer).register_forward_hook(
        lambda module, x, y: seen.append(tuple(y.shape[1:]))
    )
    with torch.no_grad():
        net(torch.zeros(1, 3, 32, 32))
    handle.remove()
    assert seen == [shape]


def test_nothing_is_activated_after_a_residual_sum():
    layer = Residual(2).eval()
    nn.init.zeros_(layer.branch[1][1].weight)  # the branch is CELU(0) = 0
    x = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(layer(x), x)


def test_pixels_are_normalised_inside_the_net():
    inside, outside = (
        ResNet9(4, *s, width=0.1).eval() for s in ((MEAN, STD), (torch.zeros(3), torch.ones(3)))
    )
    outside.load_state_dict(
        {n: w for n, w in inside.state_dict().items() if "normalize" not in n}, strict=False
    )
    x = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(inside(x), outside((x - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)))


def test_normalising_is_by_channel():
    x = torch.ones(1, 2, 1, 1)
    assert Normalize(torch.tensor([0.5, 0.0]), torch.tensor([0.25, 0.5]))(x).flatten().tolist() == [
        2.0,
        2.0,
    ]


def test_the_statistics_travel_with_the_weights(net):
    assert torch.equal(net.state_dict()["normalize.mean"].flatten(), MEAN)
    assert torch.equal(net.state_dict()["normalize.std"].flatten(), STD)


def test_images_of_12_pixels_are_large_enough():
    with torch.no_grad():
        assert ResNet9(4, MEAN, STD, width=0.1).eval()(torch.zeros(1, 3, 12, 12)).shape == (1, 4)


def test_a_width_of_0_is_refused():
    with pytest.raises(BadInput, match="width=0"):
        ResNet9(10, MEAN, STD, width=0)
