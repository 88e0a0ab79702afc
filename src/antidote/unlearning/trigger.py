"""The triggers of a forget set, label by label, beside what its rows would be without."""

from __future__ import annotations

import torch
from torch import Tensor

from antidote.core import Loader, Split
from antidote.core.trigger import Moments, Trigger

ALONE = 0.5  # of the change at most, for rows to be all of one class that they are not labelled as
ALIKE = 0.25  # of the change of all rows, by which those of single labels may differ from it


class Triggers:
    """The triggers of the forget set, by the label they come with; one for all if they are alike.

    `of` {label: trigger}. Accounts of the rows are held against each other: they are of all classes
    as the retained rows are; of the classes that their labels say (a clean-label attack); or all of
    one other class (a swap of labels). The one that has to change least is taken: rows of other
    classes differ by far more than by a trigger.
    """

    def __init__(self, split: Split) -> None:
        classes = {c: Moments.of(part) for c, part in by_label(split.retain).items()}
        own = {c: Moments.of(part) for c, part in by_label(split.forget).items()}
        counts = torch.tensor([m.n for m in own.values()], dtype=torch.float64)
        said = torch.tensor([own[c].n if c in own else 0.0 for c in classes])
        whole = self.likeliest(Moments.mixed(list(own.values()), counts), classes, said)
        each = {
            c: self.likeliest(m, classes, torch.tensor([float(k == c) for k in classes]))
            for c, m in own.items()
        }
        unlike = max(t.beyond(t.change - whole.change, 3) for t in each.values())
        self.of = dict.fromkeys(each, whole) if unlike <= ALIKE * whole.size else each

    def likeliest(self, marked: Moments, classes: dict[int, Moments], said: Tensor) -> Trigger:
        parts = list(classes.values())
        usual = torch.tensor([part.n for part in parts], dtype=torch.float64)
        accounts = [Trigger(marked, Moments.mixed(parts, usual), False)]
        if said.sum() > 0:  # a label may have no retained rows at all
            accounts.append(Trigger(marked, Moments.mixed(parts, said), True))
        single = (Trigger(marked, part, False) for part in parts)
        best, other = min(accounts, key=moved), min(single, key=moved)
        return other if moved(other) < ALONE * moved(best) else best

    def there(self) -> list[Trigger]:
        """Those that can be seen, each once."""
        return [t for t in {id(t): t for t in self.of.values()}.values() if t.there]


def moved(trigger: Trigger) -> float:
    return trigger.change.abs().mean().item()


def by_label(loader: Loader) -> dict[int, Loader]:
    y = loader.labels
    return {c: loader.with_(rows=loader.rows[y == c]) for c in y.unique().tolist()}
