"""How well islands fit a known part: adjusted Rand index and boundary F-measure, at matched numbers of islands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from apm_tta.islands.overlay import Labels, Mask, boundary, enlarged

COUNTS = (2, 3, 4, 6, 8, 12, 16)
"""Numbers of islands at which ways are compared: each way's own rule would choose others."""

_REACH = 0.01  # of the side


@dataclass(frozen=True)
class Scores:
    """Scores at ``COUNTS`` islands.

    Attributes:
        rand: adjusted Rand index by number of islands: 0 by chance, 1 for the two parts.
        boundary: boundary F-measure, likewise.
    """

    rand: tuple[float, ...]
    boundary: tuple[float, ...]


def adjusted_rand_index(labels: Labels, mask: Mask) -> float:
    """Compute the adjusted Rand index of labels with a mask of the same shape (scikit-learn's, by counting).

    scikit-learn's own sorts all pixels, which takes most of the time of a table of thousands of scores.
    """
    counts = np.stack([np.bincount(labels.ravel(), weights=part.ravel()) for part in (mask, ~mask)])
    both, rows, columns = (_pairs(part) for part in (counts, counts.sum(1), counts.sum(0)))
    expected = rows * columns / _pairs(np.array([counts.sum()]))
    most = (rows + columns) / 2
    return 1.0 if most == expected else float((both - expected) / (most - expected))


def boundary_f_measure(labels: Labels, mask: Mask) -> float:
    """Compute the F-measure of the boundaries of labels against a mask's, ``(S, S)``, within 1 % of the side."""
    reach = _REACH * mask.shape[0]
    steps = np.arange(-int(reach), int(reach) + 1)
    disk = (steps[:, None] ** 2 + steps**2 <= reach**2).astype(np.uint8)
    found, true = boundary(labels), boundary(mask.astype(np.int64))
    if not found.any() or not true.any():
        return float(found.any() == true.any())
    near = [cv2.dilate(lines.astype(np.uint8), disk).astype(bool) for lines in (found, true)]
    precision, recall = near[1][found].mean(), near[0][true].mean()
    return float(2 * precision * recall / max(precision + recall, 1e-12))


def score(labelled: list[Labels], mask: Mask) -> Scores:
    """Score labels of any resolution that divides the mask's, one for each of ``COUNTS``."""
    pixels = [enlarged(labels, mask.shape[0] // len(labels)) for labels in labelled]
    return Scores(
        tuple(adjusted_rand_index(labels, mask) for labels in pixels),
        tuple(boundary_f_measure(labels, mask) for labels in pixels),
    )


def _pairs(counts: npt.NDArray[Any]) -> float:
    return float((counts * (counts - 1) / 2).sum())
