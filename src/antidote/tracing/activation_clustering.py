"""Activation clustering (Chen et al. 2018, arXiv 1811.03728)."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA, FastICA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import silhouette_score
from torch import Tensor, nn

from antidote.core import Split, Traced, Tracer, Victim, derive, require
from antidote.core.hidden import head
from antidote.tracing.spectral import seen

ROUNDS, STILL, STARTS = 1000, 0.005, 10  # of ICA; of 2-means
FLAT = 1e-10  # share of the greatest variance that is none


class ActivationClustering(Tracer):
    """Per label, two clusters of features; the smaller is poison if small and well apart.

    That is, if it has less than `size` of the label's rows, and the silhouette of the two exceeds
    `silhouette`. Features are reduced to `dims` independent components first, principal ones where
    those do not converge. No known sample is used. `layer`: whose input is looked at; None for
    the last linear one. A score says how much nearer a row is to the smaller cluster's centre.
    """

    needs_known = False

    def __init__(
        self, dims: int, size: float, silhouette: float, layer: str | None, seed: int
    ) -> None:
        require(dims > 0, f"tracing.dims={dims} must be at least 1; the authors use 10")
        require(0 < size <= 0.5, f"tracing.size={size} is not in (0, 0.5], where a smaller half is")
        require(
            -1 <= silhouette <= 1,
            f"tracing.silhouette={silhouette} is not in [-1, 1]; -1 goes by size alone",
        )
        self.dims, self.size, self.silhouette = dims, size, silhouette
        self.layer, self.seed = layer, seed

    def check(self, net: nn.Module) -> None:
        head(net, self.layer, "tracing.layer")

    def trace(self, victim: Victim, split: Split) -> Traced:
        h, y = seen(victim.net, split.retain, self.layer)
        scores, out = torch.full((len(y),), torch.nan, dtype=torch.float64), torch.zeros(len(y))
        evidence: dict[str, float] = {}
        for label in y.unique().tolist():
            of = (y == label).nonzero().squeeze(1)
            z = self.reduced(h[of].double().numpy())
            if z is None:
                continue
            nearer, smaller, apart = self.clusters(z)
            scores[of] = nearer
            share = smaller.double().mean().item()
            if share < self.size and apart > self.silhouette:
                out[of[smaller]] = 1
                evidence |= {f"size_{label}": share, f"silhouette_{label}": apart}
        rows = split.retain.rows[out.bool().to(split.retain.rows.device)]
        return Traced(rows, scores, evidence)

    def reduced(self, h: np.ndarray) -> np.ndarray | None:
        """(n, at most `dims`); None where there are not two kinds of rows."""
        if len(h) < 3 or (h == h[0]).all():
            return None
        main = PCA(min(self.dims, *h.shape), svd_solver="covariance_eigh")
        z = main.fit_transform(h)
        # what does not vary has no components, and is not to be whitened
        z = z[:, main.explained_variance_ > FLAT * main.explained_variance_[0]]
        seed = self.draw("reduce")
        ica = FastICA(max_iter=ROUNDS, tol=STILL, whiten="unit-variance", random_state=seed)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", ConvergenceWarning)
                return ica.fit_transform(z)
        except ConvergenceWarning:
            return z

    def clusters(self, z: np.ndarray) -> tuple[Tensor, Tensor, float]:
        """(how much nearer to the smaller cluster's centre; is in it; silhouette)."""
        means = KMeans(2, n_init=STARTS, random_state=self.draw("cluster")).fit(z)
        small = int(np.bincount(means.labels_, minlength=2).argmin())
        away = means.transform(z)
        nearer = torch.from_numpy(away[:, 1 - small] - away[:, small])
        smaller = torch.from_numpy(means.labels_ == small)
        return nearer, smaller, float(silhouette_score(z, means.labels_))

    def draw(self, name: str) -> int:
        return derive(self.seed, name) % 2**32  # what numpy takes
