"""The poison that looks like the known samples to the net, label by label."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from antidote.core import Loader, Split, Traced, Tracer, Victim, derive, require
from antidote.core.hidden import features, inputs, named, names, used
from antidote.tracing.mixture import FEWEST, SURE, tail
from antidote.tracing.search import QUANTILES, Group, Layer, Search, chance, parts, unasked

log = logging.getLogger(__name__)
MOST = 8  # layers looked at, spread over the net
ALONE = 1.5  # of the distance, for a group that only one known sample leads to
TRIED = 4  # known samples tried one by one where together they lead nowhere
FIRST = 0.5  # of the distance that a group must have, to be looked for where no sample is known
SMALL = 0.25  # of the rows of a known group that an unknown one must have
INPUT = "input"
ENOUGH, CHANCE = 4, 1e-3  # known samples to hold half of them back; how likely by chance at most
ELSEWHERE = 0.75  # of the distance that a group must have, in a direction of another label's


class Features(Tracer):
    """Finds the rows that stand apart from their label's others as the known samples do.

    For each label that known samples bear, the other rows of that label are the candidates. Looked
    at are the inputs of the net's layers and the images themselves; the group that counts stands
    apart by at least `distance` deviations (`Search`). Where none does nothing is traced: any class
    has sub-groups, but none so far away. A nearer group counts, too, where half of the label's
    known samples lead to the other half by more than chance (`search.chance`). Known samples that
    lead nowhere together are tried one by one, so that innocent ones among them do no harm. With
    `other_labels`, the direction that was found is tried under the labels that no known sample
    bears, each centred on itself. With `unknown`, once poison was found, groups are looked for that
    no known sample leads to: a second trigger. `layer`: the only one to look at; None for all.
    """

    def __init__(
        self, distance: float, other_labels: bool, unknown: bool, layer: str | None, seed: int
    ) -> None:
        require(
            distance > 0,
            f"tracing.distance={distance} must be positive; 8 is the default",
        )
        self.distance, self.other_labels, self.unknown = distance, other_labels, unknown
        self.layer, self.seed = layer, seed

    def check(self, net: nn.Module) -> None:
        chosen(net, self.layer)

    def trace(self, victim: Victim, split: Split) -> Traced:
        kept, n = split.retain.rows, split.retain.count
        rows = torch.cat([kept, split.forget.rows])
        y = torch.cat([split.retain.labels, split.forget.labels]).cpu()
        known = torch.arange(len(rows)) >= n
        if not self.other_labels and not self.unknown:
            rows, y, known = (t[torch.isin(y, y[known])] for t in (rows, y, known))
        sight = Sight(victim.net, split.retain.with_(rows=rows, augment=None), self.layer)
        found = Findings(len(rows), self.distance)
        for label in y[known].unique().tolist():
            here = (y == label).nonzero().squeeze(1)
            seed = derive(self.seed, f"label {label}")
            found.add(label, here, known[here], sight.layers(here, parts(known[here], seed)), seed)
        for label in y.unique().tolist() if found.directions else ():
            seed, followed = derive(self.seed, f"label {label}"), False
            if self.other_labels and label not in y[known]:
                here = (y == label).nonzero().squeeze(1)
                followed = found.follow(label, here, sight.layers(here, anyhow(len(here), seed)))
            if self.unknown and not followed:
                here = ((y == label) & ~known & ~found.rows).nonzero().squeeze(1)
                if len(here) >= FEWEST:
                    found.wonder(label, here, sight.layers(here, anyhow(len(here), seed)))
        if not found.rows.any():
            log.warning(
                "the known samples belong to no group that stands apart (%.1f of %g deviations): "
                "they may be innocent, the trigger may not have been learned, or labels are wrong "
                "without a trigger, which tracing=confidence and unlearning=relabel_fresh are for",
                found.evidence().get("distance", 0.0),
                self.distance,
            )
        scores = torch.full((n,), torch.nan, dtype=torch.float64)
        place = torch.isin(kept.cpu(), rows[~known].cpu())
        scores[place] = found.scores[~known]
        return Traced(rows[found.rows & ~known], scores, found.evidence())


class Sight:
    """What can be looked at of the rows of a loader: one forward of each."""

    def __init__(self, net: nn.Module, loader: Loader, layer: str | None) -> None:
        spread = [layer] if layer else used(net, loader, chosen(net, None))
        self.features = features(net, loader, spread)
        image = None if layer else inputs(loader)
        if image is not None:
            self.features[INPUT] = image

    def layers(self, rows: Tensor, part: Tensor) -> dict[str, Layer]:
        return {name: Layer(H[rows], part) for name, H in self.features.items()}


def chosen(net: nn.Module, layer: str | None) -> list[str]:
    """`layer`, or some of the net's layers with weights, the last one among them."""
    found = names(net)
    if layer is not None:
        named(net, layer, "tracing.layer")
        return [layer]
    require(
        bool(found),
        f"{type(net).__name__} has no linear layer and no convolution whose input could be looked "
        "at; name a module of it with tracing.layer=...",
    )
    # the first one's input is the image
    inner = found[1:] or found
    step = max(1, (len(inner) - 1) / (MOST - 1))
    return [inner[round(len(inner) - 1 - i * step)] for i in range(min(MOST, len(inner)))][::-1]


class Findings:
    """What was found under each label, in the order of the rows looked at."""

    def __init__(self, n: int, distance: float) -> None:
        self.rows, self.distance, self.apart = torch.zeros(n, dtype=torch.bool), distance, 0
        self.scores = torch.full((n,), torch.nan, dtype=torch.float64)
        self.groups: dict[int, Group] = {}
        self.directions: list[tuple[str, Tensor]] = []
        self.chances: dict[int, float] = {}
        self.sizes: list[int] = []  # of the groups that known rows led to
        self.standing: set[int] = set()  # labels
        self.unknown = 0

    def add(
        self, label: int, here: Tensor, known: Tensor, layers: Mapping[str, Layer], seed: int
    ) -> None:
        """A label that known samples bear."""
        group = Search(layers, known, self.distance).run()
        stands = self.stands(group)
        if not stands and group is not None and known.sum() >= ENOUGH:
            self.chances[label] = chance(layers, known, self.distance, seed)
            stands = group.tail.sure >= SURE and self.chances[label] <= CHANCE
        if not stands and (lead := self.alone(known, layers)) is not None:
            group, stands = lead, True
        if group is None or not stands:
            self.apart += int(known.sum())
        else:
            self.apart += int((known & ~group.tail.rows).sum())
            self.sizes.append(int((known | group.tail.rows).sum()))
            direction = layers[group.layer].along(group.tail.rows | known)
            self.directions.append((group.layer, direction))
        self.keep(label, here, group, stands)

    def alone(self, known: Tensor, layers: Mapping[str, Layer]) -> Group | None:
        """The group that a single one of several known samples leads to."""
        several = known.nonzero().squeeze(1)[:TRIED].tolist() if known.sum() > 1 else []
        for one in several:
            only = torch.zeros_like(known)
            only[one] = True
            lead = Search(layers, only, self.distance, nearest=()).run()
            if lead is not None and lead.tail.apart(ALONE * self.distance):
                return lead
        return None

    def follow(self, label: int, here: Tensor, layers: Mapping[str, Layer]) -> bool:
        """A label that no known sample bears: is there a group in a direction found before?"""
        for name, direction in self.directions:
            scores = layers[name].H @ direction
            q = scores.quantile(torch.tensor(QUANTILES, dtype=scores.dtype))
            first = tail(scores, q)
            # less than the whole distance: the direction is another label's
            if first.apart(ELSEWHERE * self.distance):
                nobody = torch.zeros_like(first.rows)
                group = Search(layers, nobody, self.distance).run(first.rows)
                if self.stands(group):
                    self.keep(label, here, group, True)
                    return True
        return False

    def wonder(self, label: int, here: Tensor, layers: Mapping[str, Layer]) -> None:
        """Is there a group that no known sample leads to?

        A few odd rows of a label lie as far away as a trigger, but are not as many.
        """
        group = unasked(layers, self.distance, FIRST)
        if group is None or group.tail.rows.sum() < SMALL * min(self.sizes):
            return
        if group.tail.apart(ALONE * self.distance):
            self.unknown += 1
            self.keep(label, here, group, True)

    def stands(self, group: Group | None) -> bool:
        return group is not None and group.tail.apart(self.distance)

    def keep(self, label: int, here: Tensor, group: Group | None, stands: bool) -> None:
        if group is None:
            return
        if label not in self.standing:  # what known samples led to is told, not what came after
            self.groups[label], self.scores[here] = group, group.scores
        if stands:
            self.standing.add(label)
            self.rows[here] |= group.tail.rows

    def evidence(self) -> dict[str, float]:
        """`labels` with a group; `known_apart`: known samples that are in none.

        `unknown`: groups that no known sample led to. `distance`, `sure` and `gain` of the group
        that stands out most, and those of each label. `chance`: the least likely of what known
        samples held back said, where they were.
        """
        told = {
            f"label_{label}_{name}": float(value)
            for label, group in self.groups.items()
            for name, value in (
                ("distance", group.tail.distance),
                ("rows", group.tail.rows.sum()),
            )
        }
        best = max((g.tail for g in self.groups.values()), key=lambda t: t.distance, default=None)
        if best is not None:
            told |= {"distance": best.distance, "sure": best.sure, "gain": best.gain}
        if self.chances:
            told["chance"] = min(self.chances.values())
        counts = {"labels": len(self.standing), "known_apart": self.apart, "unknown": self.unknown}
        return {**{name: float(n) for name, n in counts.items()}, **told}


def anyhow(n: int, seed: int) -> Tensor:
    """The parts of n rows none of which is known."""
    return parts(torch.zeros(n, dtype=torch.bool), seed)
