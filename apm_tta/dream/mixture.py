"""A memory that is a density: a mixture of Gaussians (scikit-learn), as many as held-out columns are likeliest under.

Since a column is a linear thumbnail of its image, it is a density of thumbnails.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from apm_tta.dream.basis import Basis

_NARROWEST = 0.01
"""Variance that is added to each coordinate of each Gaussian: those of the basis have a variance of 1."""
_STARTS = 3


@dataclass(frozen=True)
class Mixture:
    r"""A mixture of K Gaussians: :math:`\sum_k \pi_k N(x; \mu_k, (P_k P_k^\top)^{-1})`; see ``Memory``.

    Attributes:
        basis: of the points.
        weights: :math:`\pi`, ``(K,)``.
        means: :math:`\mu`, ``(K, d)``.
        factors: P, upper triangular, ``(K, d, d)``.
    """

    basis: Basis
    weights: Tensor
    means: Tensor
    factors: Tensor

    def energy(self, points: Tensor) -> Tensor:
        """Return minus the log of the density, ``(B,)``, of points ``(B, d)``."""
        centres = torch.einsum("kd,kde->ke", self.means, self.factors)
        white = torch.einsum("bd,kde->bke", points, self.factors) - centres
        log_factors = self.factors.diagonal(dim1=1, dim2=2).log().sum(1) - 0.5 * points.shape[1] * math.log(2 * math.pi)
        energies: Tensor = -torch.logsumexp(self.weights.log() + log_factors - 0.5 * white.square().sum(-1), 1)
        return energies

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw points, ``(count, d)``."""
        chosen = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.means.shape[1], 1, generator=generator)
        spread = torch.linalg.solve_triangular(self.factors[chosen].transpose(1, 2), noise, upper=False)
        drawn: Tensor = self.means[chosen] + spread[..., 0]
        return drawn

    def shown(self, points: Tensor) -> Tensor:
        """Return the points: they have no noise of their own."""
        return points


def fit_mixture(basis: Basis, points: Tensor, held_out: Tensor, seed: int) -> tuple[Mixture, dict[int, float]]:
    """Fit mixtures of 1, 2, 4 ... Gaussians until held-out points become less likely, and the best to all points.

    Args:
        basis: of the points.
        points: to fit, ``(N, d)``.
        held_out: points on which the number of Gaussians is chosen, ``(M, d)``.
        seed: of the starts of EM.

    Returns:
        The mixture, and the mean log-likelihood of the held-out points by the number of Gaussians tried.
    """
    likelihoods: dict[int, float] = {}
    for count in _counts(len(points)):
        likelihoods[count] = float(_fitted(points, count, seed).score(held_out.double().numpy()))
        if likelihoods[count] < max(likelihoods.values()):
            break
    best = max(likelihoods, key=lambda count: likelihoods[count])
    found = _fitted(torch.cat([points, held_out]), best, seed)
    parts = (torch.from_numpy(part).float() for part in (found.weights_, found.means_, found.precisions_cholesky_))
    return Mixture(basis, *parts), likelihoods


def _counts(most: int) -> Iterator[int]:
    count = 1
    while count <= most:
        yield count
        count *= 2


def _fitted(points: Tensor, count: int, seed: int):  # type: ignore[no-untyped-def]  # scikit-learn has no types
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    model = GaussianMixture(count, reg_covar=_NARROWEST, n_init=_STARTS, random_state=seed % 2**32)
    with threadpool_limits(1), warnings.catch_warnings():
        # Where EM is still improving after a hundred rounds, its mixture is as good as any, judged by likelihood.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(points.double().numpy())
