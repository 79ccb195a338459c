"""How far the features of neighbouring locations agree, and how many islands they form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn.functional import normalize

THRESHOLD = 0.9


@dataclass(frozen=True)
class Agreement:
    r"""Agreement within one grid of features, u being their unit vectors.

    Attributes:
        neighbours: mean of :math:`u_l \cdot u_m` over all pairs that share a side.
        any_two: mean of :math:`u_l \cdot u_m` over all pairs of different locations: how far two features agree
            wherever they lie. Deep features share a direction, so that ``neighbours`` alone says nothing about
            islands.
        islands: number of parts when neighbours are joined whose cosine is at least the threshold.
        largest: share of all locations in the largest part, 0 .. 1.
    """

    neighbours: float
    any_two: float
    islands: int
    largest: float

    @property
    def excess(self) -> float:
        """By how much neighbours agree more than any two locations do."""
        return self.neighbours - self.any_two


def agreement(features: Tensor, threshold: float = THRESHOLD) -> Agreement:
    """Measure the agreement within one grid of features ``(h, w, C)`` of at least two locations.

    Raises:
        ValueError: for fewer than two locations, or a threshold outside -1 .. 1.
    """
    height, width, _ = features.shape
    count = height * width
    if count < 2:
        raise ValueError(f"a grid of {height} x {width} has no neighbours")
    if not -1 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}; it must be a cosine, from -1 to 1")
    unit = normalize(features.detach().double().cpu(), dim=-1)
    down, right = (unit[:-1] * unit[1:]).sum(-1), (unit[:, :-1] * unit[:, 1:]).sum(-1)
    pairs = down.numel() + right.numel()
    total = unit.sum((0, 1)).square().sum() - unit.square().sum()
    parts, labels = _connected_parts(height, width, (down >= threshold).numpy(), (right >= threshold).numpy())
    return Agreement(
        neighbours=float((down.sum() + right.sum()) / pairs),
        any_two=float(total / (count * (count - 1))),
        islands=parts,
        largest=float(np.bincount(labels).max() / count),
    )


def format_cosine(value: float) -> str:
    """Format a cosine with three digits, or as its distance from 1 where three digits would read 1."""
    return f"{value:.3f}" if value < 0.9995 else f"1 - {max(0.0, 1 - value):.0e}"


def _connected_parts(height: int, width: int, down: np.ndarray, right: np.ndarray) -> tuple[int, np.ndarray]:
    """Find the connected parts of a grid joined where ``down`` (h - 1, w) and ``right`` (h, w - 1) are true."""
    locations = np.arange(height * width).reshape(height, width)
    one = np.concatenate([locations[:-1][down], locations[:, :-1][right]])
    other = np.concatenate([locations[1:][down], locations[:, 1:][right]])
    joints = coo_array((np.ones(len(one)), (one, other)), shape=(locations.size, locations.size))
    count, labels = connected_components(joints, directed=False)
    return int(count), labels
