"""How added images descend an objective, a segment of steps at a time."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from antidote.core import finite, one_of, require

log = logging.getLogger(__name__)
Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
DIRECTIONS: dict[str, Callable[[Tensor], Tensor]] = {"sign": torch.sign, "gradient": lambda g: g}
SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "constant": lambda done: 1.0,
}


@dataclass(frozen=True)
class Descent:
    """`steps` steps of `lr` on the pixels, by F(x, y) -> (F, dF/dx); they end where F < `stop`.

    `direction`: "sign" of each pixel's gradient, or the "gradient" itself, as the public code.
    `schedule` of the step: "cosine" or "constant". `project`: pixels stay in 0..1. A `segment` of
    steps knows nothing of the one before but its images.
    """

    steps: int
    lr: float
    schedule: str
    direction: str
    stop: float
    project: bool
    segment: int

    def __post_init__(self) -> None:
        positive("lr", self.lr)
        whole("steps", self.steps)
        whole("segment", self.segment)
        require(
            self.stop >= 0,
            f"poison.stop={self.stop} is negative, but F never is; 0 makes all steps",
        )
        one_of("poison.schedule", self.schedule, SCHEDULES)
        one_of("poison.direction", self.direction, DIRECTIONS)

    def __call__(self, F: Objective, x: Tensor, y: Tensor, first: int) -> dict[str, Tensor]:
        """`x` (m, ...) after the segment from step `first`, and F before each step and at the end.

        F has more entries than steps were made, by one.
        """
        began, last = time.perf_counter(), min(first + self.segment, self.steps)
        values: list[Tensor] = []
        for step in range(first, last + 1):
            value, slope = F(x, y)
            values.append(finite(value, "F at this poison.eps_w"))
            if step == last or value < self.stop:
                break
            x = self.stepped(x, slope, step)
        seconds = time.perf_counter() - began
        told = (values[0], values[-1], first, self.steps, seconds)
        log.info("gradient canceling: F %.3g -> %.3g from step %d of %d, %.1f s", *told)
        return {"x": x, "F": torch.stack(values)}

    def stepped(self, x: Tensor, slope: Tensor, step: int) -> Tensor:
        lr = self.lr * SCHEDULES[self.schedule](step / self.steps)
        x = x - lr * DIRECTIONS[self.direction](slope)
        return x.clamp(0, 1) if self.project else x


def positive(name: str, value: float) -> None:
    require(0 < value < math.inf, f"poison.{name}={value} must be a positive number")


def whole(name: str, n: int) -> None:
    require(n >= 1 and n == int(n), f"poison.{name}={n} must be a whole number, at least 1")
