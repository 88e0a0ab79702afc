"""What the tests of trained methods share: a linear net, a split of a few rows, a bare trainer."""

import copy
from functools import partial

import torch
from torch import nn

from antidote.core import Loader, Samples, Split, Victim
from antidote.recipe import Recipe, constant
from antidote.trainer import trainer

TRAINER = partial(
    trainer,
    accelerator="cpu",
    precision="32-true",
    enable_progress_bar=False,
    enable_model_summary=False,
    enable_checkpointing=False,
)


class Remembering:
    """TRAINER, and the Trainers it made."""

    def __init__(self):
        self.made = []

    def __call__(self, **options):
        self.made.append(TRAINER(**options))
        return self.made[-1]

    @property
    def steps(self):
        """Optimiser steps of the last fit."""
        return self.made[-1].global_step


def recipe(lr=0.1, batch_size=4, **length):
    sgd = partial(torch.optim.SGD, lr=lr)
    return Recipe(sgd, constant, batch_size, **length or {"epochs": 1})


def settings(
    lr=0.1, batch_size=4, fraction=1.0, hold_out=0.0, make_trainer=TRAINER, seed=0, **length
):
    """The arguments of every method that takes a fraction of the victim's recipe."""
    chosen = recipe(lr, batch_size, **length)
    return {
        "recipe": chosen,
        "fraction": fraction,
        "optimizer": chosen.optimizer,
        "schedule": chosen.schedule,
        "make_trainer": make_trainer,
        "hold_out": hold_out,
        "seed": seed,
    }


def linear(*rows):
    """A linear net of two inputs with these rows of weights."""
    net = nn.Linear(2, len(rows), bias=False)
    net.weight.data = torch.tensor(rows, dtype=torch.float32)
    return net


def split(x, y, known, **how):
    """Rows of `x` (n, ...) with labels; the `known` ones are the forget set."""
    samples = Samples(torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y))
    rows = torch.arange(len(samples))
    forget = torch.isin(rows, torch.tensor(known))
    return Split(Loader(samples, rows[forget], **how), Loader(samples, rows[~forget], **how))


def noisy():
    """40 rows on a line with labels by side, a few of them wrong."""
    coin = torch.Generator().manual_seed(0)
    x = torch.randn(40, 2, generator=coin)
    y = (x[:, 0] > 0).long()
    y[::7] = 1 - y[::7]
    return x, y


def victim(net, fresh=None):
    return Victim(net, lambda: copy.deepcopy(fresh if fresh is not None else net))


def spied(method):
    """The method, and what its loss is called with: (net, batch, *teachers)."""
    calls, loss = [], method.loss

    def spy(*arguments):
        calls.append(arguments)
        return loss(*arguments)

    method.loss = spy
    return method, calls


def close(net, rows):
    torch.testing.assert_close(net.weight.data, torch.tensor(rows), rtol=0, atol=1e-6)


def state(net):
    return {name: t.clone() for name, t in net.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)
