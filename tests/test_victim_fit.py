"""The victim's fit: what a step sees, and that no diverged fit goes on."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from small_nets import MEAN, SMALL, STD
from torch import nn
from training import TRAINER, recipe
from waits import Waits

from antidote.core import Data, Diverged, Samples, Watch
from antidote.engine.stages import fit, training
from antidote.model.classifier import Classifier
from antidote.poison.none import NoPoison


def images(n, side=11):
    coin = torch.Generator().manual_seed(0)
    x = torch.randint(256, (n, 3, side, side), generator=coin, dtype=torch.uint8)
    samples, facts = Samples(x, torch.arange(n) % 4), {"mean": MEAN, "std": STD}
    return Data(samples, samples, tuple("abcd"), lambda x, generator: x, facts)


def loader(data, batch_size):
    return training(data, NoPoison().poison(data, lambda: None), batch_size, seed=0)


def test_a_resnet9_cannot_be_trained_on_one_image_of_11_pixels():
    net = SMALL["ResNet9"](4, MEAN, STD)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        net(torch.zeros(1, 3, 11, 11))


def test_a_last_image_that_is_alone_is_trained_on_with_the_batch_before():
    data, learn = images(65), recipe(batch_size=64)
    victim = Classifier(SMALL["ResNet9"], learn, data, 0, channels_last=False)
    batches = loader(data, 64)
    steps = learn.total_steps(batches.count)
    assert steps == len(batches) == 1
    seen = []
    victim.net.register_forward_pre_hook(lambda net, args: seen.append(len(args[0])))
    fit(TRAINER, victim, batches, [], steps, seed=0)
    assert seen == [65]


def test_without_a_lone_image_the_victims_batches_are_those_of_before():
    sizes = [len(y) for _, y in loader(images(66), 64)]
    assert sizes == [64, 2]


class Explodes(nn.Module):
    """Its answers are not finite in training step `when`, and in no other."""

    def __init__(self, num_classes, mean, std, when):
        super().__init__()
        self.layer, self.when, self.step = nn.Linear(3, num_classes), when, 0

    def forward(self, x):
        self.step += self.training
        answers = self.layer(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return answers * torch.nan if self.step == self.when else answers


def fitted(when, steps):
    """The net and the number of steps it took, and what ended the fit."""
    data = images(20)
    learn, net = recipe(lr=0.0, batch_size=2, steps=steps), partial(Explodes, when=when)
    victim = Classifier(net, learn, data, 0, channels_last=False)
    try:
        fit(TRAINER, victim, loader(data, 2), [], steps, seed=0)
    except Diverged as error:
        return victim.net.step, str(error)
    return victim.net.step, None


@pytest.mark.parametrize("when", [1, 2, 49, 50])
def test_a_fit_that_diverges_in_an_early_step_is_ended_within_50(when):
    steps, sentence = fitted(when, steps=300)
    assert steps == Watch.EVERY == 50
    assert sentence.startswith("the victim's loss is not finite")


@pytest.mark.parametrize("steps", [1, 7, 50, 73])
def test_a_fit_that_diverges_in_its_last_step_is_no_result(steps):
    done, sentence = fitted(when=steps, steps=steps)
    assert done == steps
    assert sentence.startswith("the victim's loss is not finite")


def test_a_fit_that_does_not_diverge_goes_to_its_end():
    assert fitted(when=None, steps=73) == (73, None)


def test_a_fit_does_not_wait_for_a_number_at_every_step(monkeypatch):
    waits, data, counts = Waits(monkeypatch), images(20), []
    for batch_size in (20, 1):  # one step, 20 steps
        before, net = waits.count, partial(Explodes, when=None)
        victim = Classifier(net, recipe(batch_size=batch_size), data, 0, channels_last=False)
        fit(TRAINER, victim, loader(data, batch_size), [], 20 // batch_size, seed=0)
        counts.append(waits.count - before)
    assert counts[0] == counts[1]
