"""The coordinates in which columns are remembered: principal components of the training images', each scaled to 1."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_EXPLAINED = 0.98
_MOST = 64


@dataclass(frozen=True)
class Basis:
    """A linear map between columns ``(B, D)`` and points ``(B, d)``.

    Attributes:
        mean: of the columns, ``(D,)``.
        axes: orthonormal rows, ``(d, D)``.
        scales: standard deviation along each, ``(d,)``, above 0.
    """

    mean: Tensor
    axes: Tensor
    scales: Tensor

    @property
    def width(self) -> int:
        """Number d of coordinates."""
        return len(self.scales)

    def points(self, columns: Tensor) -> Tensor:
        """Return coordinates; what lies outside the basis is lost."""
        return (columns - self.mean) @ self.axes.T / self.scales

    def columns(self, points: Tensor) -> Tensor:
        """Return columns in the space that the basis spans."""
        return (points * self.scales) @ self.axes + self.mean


def principal_basis(columns: Tensor) -> Basis:
    """Compute the basis that explains 98 % of the variance of columns ``(N, D)``, of at most 64 coordinates.

    The rest is left out since its likelihood says nothing: where a corner is black in every image, a density is the
    better the more sharply it repeats that.

    Raises:
        ValueError: when all columns are equal.
    """
    from sklearn.decomposition import PCA

    if bool((columns == columns[0]).all()):
        raise ValueError("all columns are equal")
    found = PCA(min(_MOST, *columns.shape), svd_solver="full").fit(columns.double().numpy())
    width = 1 + int((found.explained_variance_ratio_.cumsum() < _EXPLAINED).sum())
    kept = slice(0, width)
    parts = (found.mean_, found.components_[kept], found.explained_variance_[kept] ** 0.5)
    return Basis(*(torch.from_numpy(part).float() for part in parts))
