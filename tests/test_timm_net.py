"""timm's nets by name: what is passed on, what is refused, what pretrained means."""

import pytest
import timm
import torch
import torch.nn.functional as F
from huggingface_hub import constants
from safetensors.torch import save_file
from small_nets import MEAN, STD, classifier, images

from antidote.core import BadInput
from antidote.model.timm_net import TimmNet


def net(name="test_vit", pretrained=False, image_size=None, **options):
    return TimmNet(4, MEAN, STD, name, pretrained, image_size, options)


def test_an_unknown_name_is_refused_with_close_ones():
    with pytest.raises(BadInput, match=r"=vit_bas_patch16_224 is not .* mean vit_base_patch16_224"):
        net("vit_bas_patch16_224")


def test_a_name_like_no_other_is_refused_too():
    with pytest.raises(BadInput, match=r"=qqqq is not a model of timm .*; timm\.list_models"):
        net("qqqq")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"depht": 2}, "from model.net.options: .*depht"),
        ({"num_heads": 7}, "divisible by num_heads"),
        ({"name": "test_vit.nonsense"}, "Invalid pretrained tag"),
        ({"name": "nowhere:resnet18"}, "Unknown model source"),
        ({"image_size": 0}, "image_size=0 is not a number of pixels"),
    ],
)
def test_settings_that_timm_cannot_take_end_in_a_sentence(settings, reason):
    with pytest.raises(BadInput, match=reason) as refused:
        net(**settings)
    assert "\n" not in str(refused.value)


def test_options_reach_timm():
    assert len(net(depth=2).body.blocks) == 2


def test_an_option_of_none_is_timms_own_value():
    assert len(net(depth=None).body.blocks) == len(timm.create_model("test_vit").blocks)


def test_images_are_resized_inside_the_net():
    same, resized = net(img_size=32), net(img_size=32, image_size=32)
    resized.load_state_dict(same.state_dict())
    x = images(2, 3, 20, 24)
    larger = F.interpolate(x, (32, 32), mode="bilinear")
    with torch.no_grad():
        torch.testing.assert_close(resized.eval()(x), same.eval()(larger), rtol=1e-4, atol=1e-5)
        assert torch.equal(resized(larger), same(larger))


def test_weights_that_cannot_be_had_end_in_a_sentence_with_the_way_out(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BadInput, match="weights of test_vit cannot be had") as refused:
        net(pretrained=True)
    sentence = str(refused.value)
    assert sentence.endswith("model.net.pretrained=false starts from random ones")
    assert "\n" not in sentence
    assert ". " not in sentence


def test_an_unknown_option_is_not_taken_for_missing_weights():
    with pytest.raises(BadInput, match=r"model\.net\.options"):
        net(pretrained=True, depht=2)


@pytest.fixture
def pretrained(tmp_path):
    """Weights of 1000 classes in a file: (weights, the options with which timm reads them)"""
    weights = timm.create_model("test_resnet").state_dict()
    save_file(weights, tmp_path / "weights.safetensors")
    return weights, {"pretrained_cfg_overlay": {"file": str(tmp_path / "weights.safetensors")}}


def test_a_pretrained_net_and_a_fresh_one_start_from_the_same_weights(pretrained):
    weights, options = pretrained

    def factory(**shape):
        return TimmNet(
            **shape, name="test_resnet", pretrained=True, image_size=None, options=options
        )

    victim = classifier(factory, 3, 32, 32)
    for made in (victim.net, victim.fresh()):
        found = made.body.state_dict()
        body = [n for n in weights if not n.startswith("fc.")]
        assert all(torch.equal(found[n], weights[n]) for n in body)
        assert found["fc.weight"].shape[0] == 4
