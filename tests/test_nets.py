"""What every net must keep to."""

from functools import partial

import pytest
import torch
from small_nets import MEAN, SMALL, STD, classifier, images, timm_net

from antidote.core import BadInput


@pytest.mark.parametrize("net", SMALL)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 12, 20)])
def test_a_net_answers_images_of_any_usual_shape_with_logits(net, shape):
    victim = classifier(SMALL[net], *shape)
    assert victim.net.training
    assert victim.net(images(2, *shape)).shape == (2, 4)


@pytest.mark.parametrize("net", SMALL)
def test_pixels_are_normalised_inside_every_net(net):
    inside, outside = (
        SMALL[net](4, *s).eval() for s in ((MEAN, STD), (torch.zeros(3), torch.ones(3)))
    )
    weights = {n: w for n, w in inside.state_dict().items() if not n.startswith("normalize")}
    outside.load_state_dict(weights, strict=False)
    x = images(2, 3, 32, 32)
    with torch.no_grad():
        normalised = (x - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)
        torch.testing.assert_close(inside(x), outside(normalised), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("net", SMALL)
def test_a_fresh_net_is_of_another_draw_but_the_same_kind(net):
    victim = classifier(SMALL[net], 3, 32, 32)
    before, after = victim.net.state_dict(), victim.fresh().state_dict()
    assert {n: w.shape for n, w in before.items()} == {n: w.shape for n, w in after.items()}
    weights = [n for n, w in victim.net.named_parameters() if w.dim() > 1]
    assert not any(torch.equal(before[n], after[n]) for n in weights)


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (SMALL["ResNet9"], (1, 8, 8)),
        (SMALL["WideResNet"], (7,)),
        (SMALL["ResNet18"], (3, 5)),
        (partial(timm_net, name="vit_tiny_patch16_224", image_size=None), (3, 32, 32)),
        (partial(timm_net, name="convnext_atto", image_size=None), (1, 8, 8)),
        (partial(timm_net, name="test_vit", image_size=16), (7,)),
    ],
)
def test_images_that_a_net_cannot_take_are_refused_in_one_sentence(net, shape):
    with pytest.raises(BadInput, match="cannot take images of shape") as refused:
        classifier(net, *shape)
    sentence = str(refused.value)
    assert str(shape) in sentence
    assert sentence.endswith("choose another dataset, model or model.net.*")
    assert "\n" not in sentence
    assert ". " not in sentence
