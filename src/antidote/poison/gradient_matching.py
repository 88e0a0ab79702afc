"""Gradient matching, or Witches' Brew (Geiping et al. 2021, arXiv 2009.02276)."""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from antidote.core import (
    Attack,
    Data,
    Loader,
    Poison,
    Probe,
    Samples,
    Surrogate,
    Work,
    as_float,
    class_of,
    everything,
    generator,
    require,
)
from antidote.metrics.accuracy import Obedience, PlainAccuracy
from antidote.metrics.score import Targeted
from antidote.metrics.targets import Outcomes
from antidote.poison.draw import check_rate, count
from antidote.poison.matching import Craft, crafting, gradient
from antidote.poison.shift import Shift

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """A test image, the class that it is to be taken for, and the training rows that see to it."""

    target: int
    intended: int
    rows: Tensor


class GradientMatching(Attack):
    """Clean-label poison that has a net take chosen test images, the targets, for another class.

    `rate` of the training set, divided evenly among `targets` pairs of a test image and a class;
    the poison of a pair are images of that class, and keep their label. `pairs`: [[test row,
    class], ...] in place of drawn ones. Of `restarts` the one whose gradient matches best is kept.
    """

    needs_surrogate = True

    def __init__(
        self,
        rate: float,
        targets: int,
        pairs: Sequence[Sequence[Any]] | None,
        eps: float,
        restarts: int,
        steps: int,
        tau: float,
        batch: int,
        match: str,
        shift: float,
        flip: float,
        seed: int,
    ) -> None:
        check_rate(rate)
        require(targets >= 1, f"poison.targets={targets} attacks nothing; give at least 1")
        require(restarts >= 1, f"poison.restarts={restarts} crafts nothing; give at least 1")
        self.rate, self.targets, self.restarts, self.seed = rate, targets, restarts, seed
        require(
            pairs is None or (bool(pairs) and all(is_pair(pair) for pair in pairs)),
            f"poison.pairs={pairs} is no list of pairs; [[7,3]] has test image 7 taken for class 3",
        )
        self.pairs = None if pairs is None else [(pair[0], pair[1]) for pair in pairs]
        self.craft = Craft(eps, steps, tau, batch, match, Shift(shift, flip))

    def poison(self, data: Data, surrogate: Surrogate) -> Poison:
        require(
            "std" in data.facts and data.train.x.dim() == 4,
            "gradient_matching changes pixels, and these data are no images; choose another poison",
        )
        pairs = self.chosen(data)
        net, x = surrogate(), data.train.x.clone()
        for pair in pairs:
            x[pair.rows] = added(
                x[pair.rows], self.best(data, surrogate, net, pair), self.craft.eps
            )
        targets = torch.tensor([pair.target for pair in pairs], device=x.device)
        intended = torch.tensor([pair.intended for pair in pairs], device=x.device)
        indices = torch.cat([pair.rows for pair in pairs]).sort().values
        train = Samples(x, data.train.y)
        rest = torch.ones_like(data.test.y, dtype=torch.bool)
        rest[targets] = False
        return Poison(
            train=train,
            truth=data.train.y,
            indices=indices,
            classes={"intended": [pair.intended for pair in pairs]},
            probes={
                "test": Probe(
                    Loader(data.test, rest.nonzero().squeeze(1)), PlainAccuracy(data.num_classes)
                ),
                "targets": Probe(Loader(data.test, targets), Outcomes(intended)),
                "poisoned": Probe(Loader(train, indices), Obedience(data.train.y[indices])),
            },
            verdict=Targeted("targets/intended", "targets/true", "test/accuracy", len(pairs)),
        )

    def chosen(self, data: Data) -> list[Pair]:
        """The pairs, with rows that no two of them share."""
        named = self.drawn(data) if self.pairs is None else self.named(data, self.pairs)
        total = count(self.rate, data.train)
        require(
            total >= len(named),
            f"poison.rate={self.rate} of {len(data.train)} training samples is {total}, too few "
            f"for {len(named)} targets; raise the rate",
        )
        share, pairs = total // len(named), []
        free = torch.ones_like(data.train.y, dtype=torch.bool)
        for k, (target, intended) in enumerate(named):
            rows = (free & (data.train.y == intended)).nonzero().squeeze(1)
            require(
                share <= len(rows),
                f"poison.rate={self.rate} takes {share} samples of class "
                f"{data.classes[intended]} for target "
                f"{target}, but {len(rows)} are left; lower the rate",
            )
            order = torch.randperm(len(rows), generator=generator(self.seed, f"poison {k}"))
            rows = rows[order[:share].to(rows.device)].sort().values
            free[rows] = False
            pairs.append(Pair(target, intended, rows))
        return pairs

    def drawn(self, data: Data) -> list[tuple[int, int]]:
        """Test images without replacement, each with one of the other classes."""
        n = len(data.test)
        require(
            self.targets <= n,
            f"poison.targets={self.targets}, but there are {n} test images; give at most {n}",
        )
        rows = torch.randperm(n, generator=generator(self.seed, "targets"))[: self.targets].tolist()
        pairs = []
        for k, row in enumerate(rows):
            coin = generator(self.seed, f"intended {k}")
            ahead = int(torch.randint(1, data.num_classes, (1,), generator=coin))
            pairs.append((row, (int(data.test.y[row]) + ahead) % data.num_classes))
        return pairs

    def named(self, data: Data, given: Sequence[tuple[int, Any]]) -> list[tuple[int, int]]:
        n = len(data.test)
        pairs = [(row, class_of(data, c, "poison.pairs")) for row, c in given]
        for row, intended in pairs:
            where = f"poison.pairs names test image {row} and class {data.classes[intended]}"
            require(0 <= row < n, f"{where}, but the test images go from 0 to {n - 1}")
            require(
                int(data.test.y[row]) != intended,
                f"{where}, which is its true class; name another, as there is nothing to attack",
            )
        require(
            len({row for row, _ in pairs}) == len(pairs),
            f"poison.pairs={[list(pair) for pair in pairs]} names a test image twice",
        )
        return pairs

    def best(self, data: Data, surrogate: Surrogate, net: nn.Module, pair: Pair) -> Tensor:
        """The perturbation (n, C, H, W) of the restart whose last mismatch is the smallest."""
        tries = [self.restart(data, surrogate, net, pair, r) for r in range(self.restarts)]
        best = min(tries, key=lambda found: found["losses"][-1].item())
        return best["delta"].to(data.train.x.device)

    def restart(
        self, data: Data, surrogate: Surrogate, net: nn.Module, pair: Pair, r: int
    ) -> dict[str, Tensor]:
        """One restart, or what it gave before: a run that was stopped goes on at the next."""
        target = as_float(data.test.x[pair.target][None])
        what = {"by": type(self), "craft": self.craft, "seed": self.seed, "restart": r}
        what |= {"target": target, "intended": pair.intended, "rows": pair.rows}
        draw = f"craft {pair.target} {pair.intended} {r}"
        name = f"target {pair.target} for class {pair.intended}, restart {r + 1}"

        def compute() -> dict[str, Tensor]:
            began, coin = time.perf_counter(), generator(self.seed, draw)
            x, y = as_float(data.train.x[pair.rows]), data.train.y[pair.rows]
            std = data.facts["std"].to(x)
            with crafting(net):
                lie = gradient(net, target, y[:1])
                losses = []
                for delta, loss in self.craft(net, lie, x, y, std, coin):  # noqa: B007
                    losses.append(loss)
            seconds = time.perf_counter() - began
            log.info("%s: %.0f s, peak memory %.0f MB", name, seconds, peak(x.device))
            return {"delta": delta, "losses": torch.tensor(losses)}

        work = Work("crafting", what, f"crafting, {type(self).__name__}")
        found, saved = surrogate.memo.tensors(work, net, [everything(data.train)], compute)
        looked_up = f", looked up, {saved:.0f} s spared" if saved else ""
        first, last = found["losses"][[0, -1]].tolist()
        log.info(
            "%s of %d: mismatch %.3f, then %.3f%s", name, self.restarts, first, last, looked_up
        )
        return found


def is_pair(given: Any) -> bool:
    return isinstance(given, Sequence) and len(given) == 2


def added(x: Tensor, delta: Tensor, eps: float) -> Tensor:
    """Images with a perturbation, as they are stored: bytes are rounded, but never beyond `eps`."""
    if x.dtype != torch.uint8:
        return x + delta
    most = int(eps * 255 + 1e-3)  # 0.0627 and some digits are 16
    return (x + delta.mul(255).round().clamp(-most, most)).clamp(0, 255).byte()


def peak(device: torch.device) -> float:
    """The most memory so far, in MB: of the process, or of what torch had on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
