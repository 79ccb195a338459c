"""How far the features of neighbouring locations agree, and how many islands they form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.islands.regions import EXPLAINED, Regions, merge_regions


@dataclass(frozen=True)
class Agreement:
    r"""Agreement within one grid of features, u being their unit vectors.

    Attributes:
        neighbours: mean of :math:`u_l \cdot u_m` over all pairs that are one cell of the original grid apart, in a
            row or a column.
        any_two: mean of :math:`u_l \cdot u_m` over all pairs of different locations: how far two features agree
            wherever they lie. Deep features share a direction, so that ``neighbours`` alone says nothing about
            islands.
        islands: their number; see ``apm_tta.islands.regions``.
        largest: share of all locations in the largest island, 0 .. 1.
    """

    neighbours: float
    any_two: float
    islands: int
    largest: float

    @property
    def excess(self) -> float:
        """By how much neighbours agree more than any two locations do."""
        return self.neighbours - self.any_two


def agreement(features: Tensor, explained: float = EXPLAINED, factor: int = 1) -> Agreement:
    """Measure the agreement within one grid of features ``(h, w, C)`` of at least two locations.

    Args:
        features: by location.
        explained: share of the features' variance that islands explain, 0 .. 1.
        factor: locations per side for each of the original grid, which decides how far apart neighbours are.

    Raises:
        ValueError: for fewer than two locations, or a share outside 0 .. 1.
    """
    height, width, _ = features.shape
    if height * width < 2:
        raise ValueError(f"a grid of {height} x {width} has no neighbours")
    if not 0 <= explained <= 1:
        raise ValueError(f"explained is {explained}; it must be a share, from 0 to 1")
    return agreement_of(features, merge_regions(features), explained, factor)


def agreement_of(features: Tensor, regions: Regions, explained: float = EXPLAINED, factor: int = 1) -> Agreement:
    """Measure as ``agreement`` does where the regions of the features are known."""
    count = features.shape[0] * features.shape[1]
    unit = normalize(features.detach().double().cpu(), dim=-1)
    down, right = (unit[:-factor] * unit[factor:]).sum(-1), (unit[:, :-factor] * unit[:, factor:]).sum(-1)
    pairs = down.numel() + right.numel()
    total = unit.sum((0, 1)).square().sum() - unit.square().sum()
    islands = regions.count(explained)
    return Agreement(
        neighbours=float((down.sum() + right.sum()) / pairs),
        any_two=float(total / (count * (count - 1))),
        islands=islands,
        largest=float(np.bincount(regions.labels(islands).ravel()).max() / count),
    )


def format_cosine(value: float) -> str:
    """Format a cosine with three digits, or as its distance from 1 where three digits would read 1."""
    return f"{value:.3f}" if value < 0.9995 else f"1 - {max(0.0, 1 - value):.0e}"
