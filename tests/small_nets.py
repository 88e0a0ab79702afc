"""One small net of every kind, and what tests of nets share."""

from functools import partial

import torch

from antidote.core import Data, Samples
from antidote.model.classifier import Classifier
from antidote.model.resnet9 import ResNet9
from antidote.model.resnet18 import ResNet18
from antidote.model.resnet_cifar import ResNetCifar
from antidote.model.timm_net import TimmNet
from antidote.model.wide_resnet import WideResNet
from antidote.recipe import Recipe

MEAN, STD = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])
RECIPE = Recipe(torch.optim.SGD, torch.optim.lr_scheduler.ConstantLR, batch_size=8, steps=1)
timm_net = partial(TimmNet, pretrained=False, options={})
SMALL = {
    "ResNet9": partial(ResNet9, width=0.1),
    "ResNet18": partial(ResNet18, width=4),
    "ResNetCifar": partial(ResNetCifar, depth=14),
    "WideResNet": partial(WideResNet, depth=16, widen=0.25),
    "timm's ResNet": partial(timm_net, name="test_resnet", image_size=None),
    "timm's ViT": partial(timm_net, name="test_vit", image_size=16),
    "timm's EfficientNet": partial(timm_net, name="test_efficientnet", image_size=24),
}


def images(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def classifier(factory, *shape):
    """A victim for black images of a shape, of 4 classes."""
    samples = Samples(torch.zeros(4, *shape), torch.arange(4))
    mean, std = torch.full((shape[0],), 0.3), torch.full((shape[0],), 0.2)
    facts = {"mean": mean, "std": std}
    data = Data(samples, samples, ("a", "b", "c", "d"), lambda x, generator: x, facts)
    return Classifier(factory, RECIPE, data, 0, channels_last=True)
