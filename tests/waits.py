"""Counting whatever would make a CPU wait for a GPU, without one."""

import torch

from antidote.unlearning import ranking

FETCHES = ("item", "tolist", "nonzero", "cpu", "__bool__", "__int__", "__float__")


class Waits:
    """Counts, from when it is made, in whatever runs; importances are ranked as on a GPU."""

    def __init__(self, monkeypatch):
        self.count = 0
        for name in FETCHES:
            monkeypatch.setattr(torch.Tensor, name, self.counted(getattr(torch.Tensor, name)))
        monkeypatch.setattr(ranking, "on_host", lambda t: False)

    def counted(self, original):
        def wait(*arguments):
            self.count += 1
            return original(*arguments)

        return wait
