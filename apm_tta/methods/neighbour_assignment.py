"""Assignment of images to classes that a prior, a Gaussian and the nearest images agree on.

The part that TransCLIP (arXiv 2406.01837) and StatA (arXiv 2501.03729) share, from their equations.
"""

from __future__ import annotations

import torch
from torch import Tensor

# What the authors' code adds to the papers: likelihoods are divided by 50, and the neighbours' weight by twice their
# number, which the 50 was chosen for.
_TEMPERATURE = 50.0
# A variance of zero, as of a single image, would divide by zero.
_LEAST_VARIANCE = 1e-10
_ROWS_TOGETHER = 1024
"""Rows of the similarities that are computed at once: with 50,000 images 200 MB in place of 10 GB."""


class Neighbours:
    r"""The similarities of every image to its few nearest ones, both ways.

    .. math:: S = A + A^T, \qquad A_{ij} = f_i \cdot f_j \text{ for the k nearest j of i, else } 0

    Of an image and its k nearest, the nearest is taken for the image itself. Only these k numbers per image are kept.

    Args:
        features: unit rows, ``(N, F)``.
        count: k; fewer where N - 1 is.
    """

    def __init__(self, features: Tensor, count: int) -> None:
        self._count = min(count, len(features) - 1)
        most = self._count + 1
        found = [(rows @ features.mT).topk(most) for rows in features.split(_ROWS_TOGETHER)]
        self._values = torch.cat([each.values[:, 1:] for each in found])
        self._indices = torch.cat([each.indices[:, 1:] for each in found])

    def smooth(self, assignments: Tensor) -> Tensor:
        """Return the sums over the neighbours of assignments ``(N, C)``, weighted by their similarity, ``(N, C)``."""
        total = torch.zeros_like(assignments)
        for place in range(self._count):
            weights, others = self._values[:, place, None], self._indices[:, place]
            total += weights * assignments[others]
            total.index_add_(0, others, weights * assignments)
        return total / (2 * max(self._count, 1))


def assign(
    prior: Tensor, scores: Tensor, neighbours: Neighbours, start: Tensor, *, weight: float, rounds: int
) -> Tensor:
    r"""Compute assignments of images to classes, ``(N, C)``.

    .. math:: z_{ic} \propto p_{ic} \, \exp \Bigl( \frac{L_{ic}}{50} + \lambda \frac{(S z)_{ic}}{2 k} \Bigr)

    Args:
        prior: log-probabilities of the teacher, ``(N, C)``.
        scores: log-likelihoods L, ``(N, C)``.
        neighbours: of the images.
        start: assignments that the first round begins with, ``(N, C)``.
        weight: lambda.
        rounds: updates, of all images at once.
    """
    fixed, current = prior + scores / _TEMPERATURE, start
    for _ in range(rounds):
        current = (fixed + weight * neighbours.smooth(current)).softmax(-1)
    return current


def log_likelihoods(features: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """Compute log-likelihoods ``(N, C)``, without their constant, of features ``(N, F)`` under diagonal Gaussians.

    Means and variances are ``(C, F)``. No image and class have a tensor of their own: all of it is matrix products. In
    these, large terms leave a small difference, which is divided by variances near zero where a class has one image:
    in single precision the answers would be those of the processor's rounding.
    """
    variances, means = variances.double().clamp_min(_LEAST_VARIANCE), means.double()
    precisions = 1 / variances
    constant, slopes = (precisions * means.square() + variances.log()).sum(-1), (2 * precisions * means).mT
    scores = [
        -0.5 * (rows.square() @ precisions.mT - rows @ slopes + constant)
        for rows in map(Tensor.double, features.split(_ROWS_TOGETHER))
    ]
    return torch.cat([each.to(features.dtype) for each in scores])


def squared_distances(features: Tensor, means: Tensor, assignments: Tensor) -> Tensor:
    """Compute sums of squared distances by assignments, ``(C, F)``; see ``log_likelihoods`` for their precision."""
    means = means.double()
    total = torch.zeros_like(means)
    for rows, own in zip(features.split(_ROWS_TOGETHER), assignments.split(_ROWS_TOGETHER), strict=True):
        values, weights = rows.double(), own.double()
        total += weights.mT @ values.square() - 2 * means * (weights.mT @ values)
        total += weights.sum(0)[:, None] * means.square()
    return total.clamp_min(0)
