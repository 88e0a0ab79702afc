"""What a net makes of rows inside: read as a forward has it, with the net left alone."""

import gc
import tempfile
from pathlib import Path

import pytest
import torch
from torch import nn

from antidote.core import BadInput, Loader, Samples
from antidote.core.hidden import features, head, inputs, names, pooled, room, used, watched


class Unused(nn.Module):
    """Of its four layers one takes no part; the order of definition is not that of use."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 3)
        self.conv = nn.Conv2d(3, 4, 3)
        self.idle = nn.Linear(4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        h = self.norm(self.conv(x)).relu().mean((2, 3))
        return self.last(self.drop(h))


def net_and_loader(n=23, batch_size=5):
    torch.manual_seed(0)
    net = Unused()
    net.norm.running_mean.uniform_()
    x = torch.randint(256, (n, 3, 6, 6), dtype=torch.uint8)
    rows = torch.arange(n).flip(0)  # another order than the samples'
    return net, Loader(Samples(x, torch.arange(n) % 3), rows, batch_size)


def state(net):
    return {name: t.clone() for name, t in net.state_dict().items()}


# pooled


def test_of_images_mean_and_maximum_over_positions_are_taken():
    h = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[0.0, -1.0], [-2.0, -5.0]]]])
    assert pooled(h).tolist() == [[3.0, -2.0, 6.0, 0.0]]


def test_of_tokens_mean_and_maximum_over_tokens_are_taken():
    h = torch.tensor([[[1.0, -4.0], [2.0, 0.0], [6.0, 1.0]]])
    assert pooled(h).tolist() == [[3.0, -1.0, 6.0, 1.0]]


def test_vectors_and_numbers_stay_as_they_are():
    h = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert torch.equal(pooled(h), h)
    assert pooled(torch.tensor([1.0, 2.0])).tolist() == [[1.0], [2.0]]


def test_volumes_are_taken_as_images_are():
    h = torch.arange(16.0).reshape(1, 2, 2, 2, 2)
    assert pooled(h).tolist() == [[3.5, 11.5, 7.0, 15.0]]


# head and names


def test_the_head_is_the_last_linear_layer_of_its_size():
    assert (
        head(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), None, "tracing.layer")
        == "2"
    )


def test_a_named_head_is_taken_as_it_is():
    assert head(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten()), "1", "tracing.layer") == "1"


def test_a_net_without_a_linear_layer_has_no_head():
    with pytest.raises(BadInput, match=r"no linear layer .* name a layer .* one of 0$"):
        head(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten()), None, "tracing.layer")


def test_of_two_heads_one_has_to_be_named():
    with pytest.raises(BadInput, match=r"has 2 linear layers .* answers: 0, 1; name one"):
        head(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), None, "tracing.layer")


def test_a_head_that_does_not_exist_is_refused_with_those_there_are():
    with pytest.raises(BadInput, match="layer=fc is no layer of Unused; it has last, conv, idle"):
        head(Unused(), "fc", "tracing.layer")


def test_names_are_of_layers_with_weights_in_the_order_of_definition():
    assert names(Unused()) == ["last", "conv", "idle"]


# used, watched


def test_layers_that_take_no_part_are_left_out():
    net, loader = net_and_loader()
    assert used(net, loader, names(net)) == ["last", "conv"]


@pytest.mark.parametrize("inside", ["used", "features", "raising"])
def test_net_mode_and_bits_stay_and_no_hook_is_left(inside):
    net, loader = net_and_loader()
    net.train()
    net.norm.eval()  # frozen
    before, modes = state(net), [m.training for m in net.modules()]
    if inside == "used":
        used(net, loader, names(net))
    elif inside == "features":
        features(net, loader, ["conv", "last"])
    else:
        with pytest.raises(BadInput):
            features(net, loader, ["idle"])
    assert all(torch.equal(before[name], t) for name, t in net.state_dict().items())
    assert [m.training for m in net.modules()] == modes
    assert not any(m._forward_pre_hooks for m in net.modules())
    assert all(w.grad is None for w in net.parameters())


def test_an_error_in_the_block_leaves_no_hook():
    net, _ = net_and_loader()
    with pytest.raises(ZeroDivisionError), watched(net, ["conv"]):
        raise ZeroDivisionError
    assert not net.conv._forward_pre_hooks


# features


def by_hand(net, loader):
    """Pooled inputs of `conv` and `last`, in the loader's order, in one batch."""
    net.eval()
    x = loader.samples.x[loader.rows].float() / 255
    with torch.no_grad():
        h = net.norm(net.conv(x)).relu().mean((2, 3))
    return {"conv": torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1), "last": h}


@pytest.mark.parametrize("batch_size", [5, 22, 23, 100])
def test_features_are_those_of_a_forward_by_hand(batch_size):
    net, loader = net_and_loader(batch_size=batch_size)
    net.train()  # evaluation mode is the function's own business
    found = features(net, loader, ["last", "conv"])
    expected = by_hand(net, loader)
    assert list(found) == ["last", "conv"]
    for name, h in found.items():
        assert h.dtype == torch.float32
        torch.testing.assert_close(h, expected[name], rtol=1e-5, atol=1e-6)


def files():
    return {p.name for p in Path(tempfile.gettempdir()).glob("*.features")}


def mapped(t):
    """Whether a tensor lies in a file of ours, as the kernel tells it."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        low, high = (int(end, 16) for end in line.split()[0].split("-"))
        if low <= t.data_ptr() < high:
            return ".features" in line
    return False


def test_features_from_a_file_are_the_same_and_leave_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    net, loader = net_and_loader()
    layers = ["conv", "last"]
    plain, small = (features(net, loader, layers, in_memory=m) for m in (2**20, 0))
    assert all(torch.equal(plain[name], small[name]) for name in layers)
    assert files() == set()
    if Path("/proc/self/maps").is_file():
        assert [mapped(small[n]) for n in layers] == [True, True]
        assert [mapped(plain[n]) for n in layers] == [False, False]


def test_the_file_goes_with_the_tensor(tmp_path, monkeypatch):
    if not Path("/proc/self/maps").is_file():
        pytest.skip("what is mapped is read from /proc")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    t = room((1000, 7), in_memory=0)
    t[:] = 1
    assert t.sum() == 7000
    assert str(tmp_path) in Path("/proc/self/maps").read_text()
    del t
    gc.collect()
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


def test_what_just_fits_lies_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert room((10, 5), in_memory=200).shape == (10, 5)
    with pytest.raises(FileNotFoundError):
        room((10, 5), in_memory=199)


def test_the_limit_is_for_all_layers_together(tmp_path, monkeypatch):
    """(23, 6) and (23, 4) floats are 552 and 368 bytes."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    net, loader = net_and_loader()
    features(net, loader, ["conv", "last"], in_memory=2 * 552)
    with pytest.raises(FileNotFoundError):
        features(net, loader, ["conv", "last"], in_memory=2 * 552 - 2)


def test_a_layer_that_is_not_used_is_one_sentence():
    net, loader = net_and_loader()
    with pytest.raises(BadInput, match="layer=idle is not used when the net answers"):
        features(net, loader, ["last", "idle"])


# inputs


@pytest.mark.parametrize(
    ("shape", "most", "d"),
    [((3, 8, 8), 192, 192), ((3, 8, 8), 191, 48), ((3, 8, 8), 13, 12), ((3, 7, 9), 60, 36)],
)
def test_images_are_halved_until_they_fit(shape, most, d):
    x = torch.randint(256, (5, *shape), dtype=torch.uint8)
    found = inputs(Loader(Samples(x, torch.zeros(5).long()), torch.arange(5), 2), most)
    assert found.shape == (5, d)
    assert found.dtype == torch.float32


def test_a_halved_image_is_made_of_means_of_four():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    found = inputs(Loader(Samples(x, torch.zeros(1).long()), torch.tensor([0])), 4)
    assert found.tolist() == [[2.5, 4.5, 10.5, 12.5]]


def test_an_image_of_many_channels_is_halved_to_one_pixel_at_most():
    x = torch.rand(2, 20, 4, 4)
    loader = Loader(Samples(x, torch.zeros(2).long()), torch.arange(2))
    torch.testing.assert_close(inputs(loader, most=10), x.mean((2, 3)))


@pytest.mark.parametrize(
    "x", [torch.ones(4, 7).long(), torch.rand(4, 7), torch.ones(4, 1, 2, 2).long()]
)
def test_what_is_no_image_has_no_pixels(x):
    assert inputs(Loader(Samples(x, torch.zeros(4).long()), torch.arange(4))) is None


def test_a_net_of_tokens_has_features_all_the_same():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 3), nn.Flatten(), nn.Linear(15, 2))
    x = torch.randint(10, (6, 5))
    loader = Loader(Samples(x, torch.zeros(6).long()), torch.arange(6), 4)
    found = features(net, loader, ["1", "3"])
    e = net[0](x).detach()
    torch.testing.assert_close(found["1"], torch.cat([e.mean(1), e.amax(1)], 1))
    torch.testing.assert_close(found["3"], net[1](e).flatten(1).detach())
