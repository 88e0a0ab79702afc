"""What an unlearned net no longer believes: the fall of the stored labels' log-probabilities."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from antidote.core import Loader, Method, Split, Traced, Tracer, Victim, Work, finite, logits
from antidote.tracing.mixture import cut


class Borrowing(Tracer):
    """A tracer at whose heart an unlearning method works, on copies of the net."""

    def __init__(self, method: Method) -> None:
        self.method = method

    def check(self, net: nn.Module) -> None:
        self.method.check(net)

    def work(self) -> Iterable[Work]:
        # what the method remembers would be remembered twice: it is part of the tracing
        title = f"tracings, {type(self).__name__}"
        yield Work("tracing", settings(self), title, self.gradients)

    def gradients(self, n: int) -> float:
        return super().gradients(n) + sum(w.gradients(n) for w in self.method.work() if w.gradients)

    def applied(self, victim: Victim, split: Split) -> tuple[nn.Module, int]:
        """(a copy of the net after the method, what that cost in sample gradients)."""
        patient = victim.copied()
        # without a memo: seconds that it spared would be missing in what a tracing is said to take
        history = self.method.unlearn(patient, Split(split.forget, split.retain))
        return patient.net, history.sample_gradients


def settings(part: Any) -> Any:
    """Of a defence and those inside it, all but how Trainers are made: that is the run's to say."""
    if not isinstance(part, Method | Borrowing):
        return part
    own = {name: settings(v) for name, v in vars(part).items() if name != "make_trainer"}
    return {"by": type(part), **own}


class Fall(Borrowing):
    """Unlearns the known poison on a copy, and suspects the rows that fall with it.

    The score of a row is log p(its stored label) under the victim, less that under the unlearned
    copy. Looked at are the rows whose stored label the victim predicts. The tail begins where the
    known rows fall in the mean; it is poison if it stands at least `distance` deviations apart.
    """

    def __init__(self, method: Method, distance: float) -> None:
        super().__init__(method)
        self.distance = distance

    def trace(self, victim: Victim, split: Split) -> Traced:
        unlearned, cost = self.applied(victim, split)

        def fall(part: Loader) -> tuple[Tensor, Tensor]:
            log_p, log_q = (log_probabilities(net, part) for net in (victim.net, unlearned))
            y = part.labels.cpu()
            score = (log_p - log_q).gather(1, y[:, None]).squeeze(1)
            return score, log_p.argmax(1) == y

        scores, fits = fall(split.retain)
        scores[~fits] = torch.nan
        start = fall(split.forget)[0].mean().item()
        rows, evidence = cut(split.retain.rows, scores, start, self.distance)
        return Traced(rows, scores, evidence, cost)


def log_probabilities(net: nn.Module, loader: Loader) -> Tensor:
    """(n, K) of rows as stored, float64 on the CPU."""
    told = finite(logits(net, loader), "what a net answers while rows are traced")
    return told.cpu().double().log_softmax(1)
