"""Accuracies that attacks put into their probes."""

from __future__ import annotations

from torch import Tensor, nn
from torchmetrics.functional.classification import multiclass_accuracy

from antidote.core import Loader, answers


class PlainAccuracy:
    """`accuracy` in 0..1 over all rows, `class_accuracy/k` of each class (0 if it has no rows)."""

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def __call__(self, net: nn.Module, loader: Loader) -> dict[str, float]:
        predicted, truth = answers(net, loader)
        per_class = multiclass_accuracy(predicted, truth, self.num_classes, average=None)
        whole = (predicted == truth).double().mean().item()
        return {"accuracy": whole} | {
            f"class_accuracy/{k}": round(value.item(), 6) for k, value in enumerate(per_class)
        }


class TriggerSuccess:
    """What a trigger does to test images whose true class is not the target.

    `accuracy`: they are still recognised (floor 0). `success`: they are taken for the
    target class, the attack success rate. `accuracy_all`: the papers' column, target class
    included (floor about 1/K).
    """

    def __init__(self, target_class: int) -> None:
        self.target_class = target_class

    def __call__(self, net: nn.Module, loader: Loader) -> dict[str, float]:
        predicted, truth = answers(net, loader)
        others = truth != self.target_class
        right = (predicted == truth).double()
        return {
            "accuracy": right[others].mean().item(),
            "success": (predicted[others] == self.target_class).double().mean().item(),
            "accuracy_all": right.mean().item(),
        }


class NextSuccess:
    """What an all-to-all trigger does to test images; every one counts, whatever its class.

    `success`: they are taken for the class after their own, (y + 1) mod K. `accuracy_all`: they are
    still recognised (floor 0); `accuracy` is the same.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def __call__(self, net: nn.Module, loader: Loader) -> dict[str, float]:
        predicted, truth = answers(net, loader)
        right = (predicted == truth).double().mean().item()
        moved = predicted == (truth + 1) % self.num_classes
        return {
            "accuracy": right,
            "success": moved.double().mean().item(),
            "accuracy_all": right,
        }


class Obedience:
    """Rows with a poisoned label each, given in the loader's order.

    `accuracy`: rows answered with their true label. `success`: of the rows whose poisoned label is
    wrong, those answered with it (0 if there are none).
    """

    def __init__(self, poisoned: Tensor) -> None:
        self.poisoned = poisoned

    def __call__(self, net: nn.Module, loader: Loader) -> dict[str, float]:
        predicted, truth = answers(net, loader)
        wrong = self.poisoned != truth
        obeyed = (predicted == self.poisoned)[wrong].double()
        return {
            "accuracy": (predicted == truth).double().mean().item(),
            "success": obeyed.mean().item() if len(obeyed) else 0.0,
        }
