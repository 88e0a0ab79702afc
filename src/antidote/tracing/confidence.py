"""Confident learning (Northcutt et al. 2021, arXiv 1911.00068), by the cleanlab library."""

from __future__ import annotations

import torch
from cleanlab.filter import find_label_issues
from torch import Tensor

from antidote.core import Loader, Method, Split, Traced, Victim, generator, one_of, require
from antidote.tracing.fall import Borrowing, log_probabilities

FILTERS = ("prune_by_noise_rate", "prune_by_class", "both", "confident_learning")


class Confidence(Borrowing):
    """Rows whose stored label is not what nets say that never saw them.

    For each of `folds` parts of the retained rows, `method` makes a net as if that part were the
    known poison; it is meant to be a retraining. The known rows are in no training. Score:
    1 - p(stored label), out of sample. Made for wrong labels without a trigger. No known sample is
    used.
    """

    needs_known = False

    def __init__(self, method: Method, folds: int, filter_by: str, seed: int) -> None:
        super().__init__(method)
        require(
            folds >= 2, f"tracing.folds={folds} must be at least 2; one net is trained without each"
        )
        one_of("tracing.filter_by", filter_by, FILTERS)
        self.folds, self.filter_by, self.seed = folds, filter_by, seed

    def gradients(self, n: int) -> float:
        return self.folds * super().gradients(n)

    def trace(self, victim: Victim, split: Split) -> Traced:
        retain, n = split.retain, split.retain.count
        require(n >= self.folds, f"tracing.folds={self.folds}: only {n} samples are retained")
        p, y, cost = torch.empty(0), retain.labels.cpu(), 0
        part = torch.randperm(n, generator=generator(self.seed, "folds")) % self.folds
        for k in range(self.folds):
            out, rest = (part_of(retain, rows) for rows in (part == k, part != k))
            net, trained = self.applied(victim, Split(out, rest))
            log_p = log_probabilities(net, out)
            p = p if len(p) else log_p.new_empty(n, log_p.shape[1])
            p[part == k], cost = log_p.exp(), cost + trained
        issues = find_label_issues(y.numpy(), p.numpy(), filter_by=self.filter_by, n_jobs=1)
        scores = 1 - p.gather(1, y[:, None]).squeeze(1)
        # what the nets make of the labels: far from 1, they know too little to judge any
        evidence = {"accuracy": (p.argmax(1) == y).double().mean().item()}
        rows = retain.rows[torch.from_numpy(issues).to(retain.rows.device)]
        return Traced(rows, scores, evidence, cost)


def part_of(loader: Loader, mask: Tensor) -> Loader:
    return loader.with_(rows=loader.rows[mask.to(loader.rows.device)])
