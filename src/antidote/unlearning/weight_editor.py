"""Weight editors: SSD (arXiv 2308.07707), label-free and adaptive SSD, and XLF (arXiv 2406.09173).

All measure how much each weight matters for the known poison and for the rest, and dampen
those that matter far more for the poison. They differ in objective, power and cutoff: five
YAML files over one class.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import nn

from antidote.checks import require
from antidote.core import Loader, Report, Split, Victim
from antidote.unlearning.evidence import Evidence, Objective, importance


class Cutoff(Protocol):
    def natural(self, evidence: Evidence) -> float: ...
    def alpha(self, evidence: Evidence, pressure: float) -> tuple[float, float | None]: ...


class WeightEditor:
    """`measure` passes over the data twice and costs all the time; `edit` is arithmetic.

    `strength` is SSD's lambda. `denominator`: "retain" (reference) divides by the importance for
    all but the known poison, "full" for all of the training set. `weighting`: "batches" (reference)
    or "samples". `augment`: measure on augmented images, as the reference does.
    """

    def __init__(
        self,
        objective: Objective,
        power: int,
        cutoff: Cutoff,
        strength: float,
        batch_size: int,
        denominator: str,
        weighting: str,
        augment: bool,
        seed: int,
    ) -> None:
        require(
            power in (1, 2),
            f"power={power} is neither 1 (absolute gradient) nor 2 (squared gradient)",
        )
        require(
            denominator in ("retain", "full"),
            f"denominator={denominator} is neither retain nor full",
        )
        require(
            weighting in ("batches", "samples"),
            f"weighting={weighting} is neither batches nor samples",
        )
        require(
            strength > 0,
            f"strength={strength} (lambda) must be positive; 1 is the adaptive methods' value",
        )
        require(
            batch_size > 0, f"batch_size={batch_size} must be at least 1; the reference uses 512"
        )
        self.objective, self.power, self.cutoff, self.strength = objective, power, cutoff, strength
        self.batch_size, self.denominator, self.weighting = batch_size, denominator, weighting
        self.augment, self.seed = augment, seed

    def what(self) -> dict[str, Any]:
        """What determines the importances, besides net and data."""
        return {
            "by": importance,
            "objective": self.objective,
            "power": self.power,
            "batch_size": self.batch_size,
            "denominator": self.denominator,
            "weighting": self.weighting,
            "augment": self.augment,
            "seed": self.seed,
        }

    def signature(self) -> dict[str, Any]:
        """What determines an edit, besides net, data and pressure."""
        cutoff = {"cutoff": type(self.cutoff), "cutoff settings": vars(self.cutoff)}
        return {**self.what(), "editor": type(self), **cutoff, "strength": self.strength}

    def loaders(self, split: Split) -> dict[str, Loader]:
        """The two data sets in random batches.

        A data set stored class by class must not give one-class batches.
        """
        rest = split.retain.rows
        if self.denominator == "full":
            rest = torch.cat([rest, split.forget.rows]).sort().values
        how: dict[str, Any] = {"shuffle": True, "batch_size": self.batch_size, "seed": self.seed}
        if not self.augment:
            how["augment"] = None
        return {"I_r": split.retain.but(rows=rest, **how), "I_f": split.forget.but(**how)}

    def measure(self, net: nn.Module, split: Split) -> Evidence:
        loaders = self.loaders(split)

        def work() -> dict[str, torch.Tensor]:
            by_sample = self.weighting == "samples"
            return {
                f"{which}/{name}": t
                for which, loader in loaders.items()
                for name, t in importance(
                    net, loader, self.objective, self.power, by_sample
                ).items()
            }

        tensors, saved = split.once(self.what(), work)
        theta = {n: w.detach().clone() for n, w in net.named_parameters()}
        # on theta's device and in its memory layout,
        # which makes edits a third faster than mixed layouts
        I_f, I_r = (
            {n: torch.empty_like(w).copy_(tensors[f"{which}/{n}"]) for n, w in theta.items()}
            for which in ("I_f", "I_r")
        )
        return Evidence(
            theta=theta,
            I_f=I_f,
            I_r=I_r,
            frac=split.forget.count / (split.forget.count + split.retain.count),
            strength=self.strength,
            sample_gradients=sum(loader.count for loader in loaders.values()),
            saved=saved,
        )

    def natural(self, evidence: Evidence) -> float:
        """The pressure to use when nothing is searched."""
        return self.cutoff.natural(evidence)

    def edit(self, net: nn.Module, evidence: Evidence, pressure: float) -> dict[str, float]:
        """Dampens the weights that `evidence` was measured on; what was done, as numbers."""
        alpha, percentile = self.cutoff.alpha(evidence, pressure)
        done = {"pressure": pressure, "cutoff": alpha, "dampened": evidence.edit(net, alpha)}
        return done if percentile is None else done | {"percentile": percentile}

    def unlearn(self, victim: Victim, split: Split) -> Report:
        evidence = self.measure(victim.net, split)
        done = self.edit(victim.net, evidence, self.natural(evidence))
        done["infinite_ratios"] = evidence.infinite
        return Report([done], evidence.sample_gradients, evidence.saved)
