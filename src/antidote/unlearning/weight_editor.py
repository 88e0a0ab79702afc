"""Weight editors: SSD (arXiv 2308.07707), label-free and adaptive SSD, and XLF (arXiv 2406.09173).

All measure how much each weight matters for the known poison and for the rest, and dampen
those that matter far more for the poison. They differ in objective, power and cutoff: five
YAML files over one class.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from antidote.core import History, Loader, Method, Split, Victim, Work, one_of, require
from antidote.unlearning.budget import Budget
from antidote.unlearning.evidence import Evidence, Objective, importance


class Cutoff(Protocol):
    def natural(self, evidence: Evidence) -> float: ...
    def alpha(self, evidence: Evidence, pressure: float) -> tuple[float, float | None]: ...


class Editor(Method):
    """A method whose edit has a strength, so that PTN can search for it.

    `measure` costs all the time and leaves the net as it is; `edit` may be called any number of
    times and always starts from the net that was measured.
    """

    @abstractmethod
    def measure(self, net: nn.Module, split: Split) -> Evidence: ...

    @abstractmethod
    def natural(self, evidence: Evidence) -> float:
        """The pressure to use when nothing is searched."""

    @abstractmethod
    def edit(self, net: nn.Module, evidence: Evidence, pressure: float) -> dict[str, float]:
        """What was done, as numbers; more pressure edits more."""

    def unlearn(self, victim: Victim, split: Split) -> History:
        evidence = self.measure(victim.net, split)
        done = self.edit(victim.net, evidence, self.natural(evidence))
        done["infinite_ratios"] = evidence.infinite
        return History([done], evidence.sample_gradients, evidence.saved)


class WeightEditor(Editor):
    """Two passes over the data, then arithmetic.

    `strength` is SSD's lambda. `denominator`: "retain" (reference) divides by the importance for
    all but the known poison, "full" for all of the training set. `weighting`: "batches" (reference)
    or "samples". `augment`: measure on augmented images, as the reference does.
    """

    gentler = "a smaller unlearning.strength dampens less"

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
        budget: Budget | None = None,
    ) -> None:
        require(
            power in (1, 2),
            f"power={power} is neither 1 (absolute gradient) nor 2 (squared gradient)",
        )
        one_of("denominator", denominator, ("retain", "full"))
        one_of("weighting", weighting, ("batches", "samples"))
        require(
            strength > 0,
            f"strength={strength} (lambda) must be positive; 1 is the adaptive methods' value",
        )
        require(
            batch_size > 0, f"batch_size={batch_size} must be at least 1; the reference uses 512"
        )
        self.objective, self.power, self.cutoff, self.strength = objective, power, cutoff, strength
        self.batch_size, self.denominator, self.weighting = batch_size, denominator, weighting
        self.augment, self.seed, self.budget = augment, seed, budget

    def afford(self, split: Split) -> None:
        if self.budget is not None:
            needed = sum(loader.count for loader in self.loaders(split).values())
            n = split.forget.count + split.retain.count
            self.budget.require(needed, "measuring importances", n)

    def importances(self) -> Work:
        """The two passes: neither cutoff nor strength changes what they give."""
        later = ("cutoff", "strength", "budget")
        settings = {name: value for name, value in vars(self).items() if name not in later}
        name = getattr(self.objective, "__name__", str(self.objective))
        what = {"by": importance, **settings}
        return Work("importances", what, f"importances, {name}", float)

    def work(self) -> Iterable[Work]:
        yield self.importances()

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
        return {"I_r": split.retain.with_(rows=rest, **how), "I_f": split.forget.with_(**how)}

    def measure(self, net: nn.Module, split: Split) -> Evidence:
        loaders = self.loaders(split)

        def compute() -> dict[str, Tensor]:
            how = self.objective, self.power, self.weighting == "samples"
            return {
                f"{which}/{name}": t
                for which, loader in loaders.items()
                for name, t in importance(net, loader, *how).items()
            }

        work, known = self.importances(), [split.forget, split.retain]
        tensors, saved = split.memo.tensors(work, net, known, compute)
        names = [name for name, _ in net.named_parameters()]
        I_f, I_r = ({n: tensors[f"{which}/{n}"] for n in names} for which in ("I_f", "I_r"))
        return Evidence.of(
            net,
            I_f,
            I_r,
            frac=split.forget.count / (split.forget.count + split.retain.count),
            strength=self.strength,
            sample_gradients=sum(loader.count for loader in loaders.values()),
            saved=saved,
        )

    def natural(self, evidence: Evidence) -> float:
        return self.cutoff.natural(evidence)

    def edit(self, net: nn.Module, evidence: Evidence, pressure: float) -> dict[str, float]:
        alpha, percentile = self.cutoff.alpha(evidence, pressure)
        done = {"pressure": pressure, "cutoff": alpha, "dampened": evidence.edit(net, alpha)}
        return done if percentile is None else done | {"percentile": percentile}
