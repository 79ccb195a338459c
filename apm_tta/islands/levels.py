"""The levels of a teacher: how far neighbouring locations agree in every layer, for one image and over a folder.

GLOM (arXiv 2102.12627) has levels whose islands grow from patch to object; a ViT's layers are taken as such levels.
That agreement grows with the level is a claim, which is tested over a folder, with an interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy.stats import bootstrap, kendalltau

from apm_tta.errors import UserError
from apm_tta.islands.agreement import Agreement, agreement
from apm_tta.islands.fine import FineGrid, fine_grids
from apm_tta.teachers import Teacher
from apm_tta.teachers.square import Square

Floats = npt.NDArray[np.float64]

_RESAMPLES = 10_000


def ordered_levels(levels: Sequence[int] | str, teacher: Teacher) -> list[int]:
    """Return layers counted from 0, each once and ascending, whatever the order and the signs of ``levels``.

    A level that does not exist is kept: ``encode_grids`` refuses it.

    Raises:
        UserError: when the teacher has no tokens by location. Exit code 2.
    """
    count = teacher.layers
    if isinstance(levels, str):
        return list(range(count))
    return sorted({level + count if -count <= level < 0 else level for level in levels})


@torch.no_grad()
def grids_of_levels(
    image: Image.Image, teacher: Teacher, levels: Sequence[int], resolution: int | None = None, way: str = "bilinear"
) -> list[FineGrid]:
    """Compute features of each of ``levels`` of the whole image as a square; see ``fine_grids``.

    Raises:
        UserError: when the teacher has no tokens by location, or no such level or resolution. Exit code 2.
    """
    pixels = Square(teacher.preprocessing)(image)[None].to(teacher.device)
    return fine_grids(teacher, pixels, levels, resolution, way)


@dataclass(frozen=True)
class Estimate:
    """A mean over images with its 95 % bootstrap interval.

    Attributes:
        mean: mean over all images.
        low: lower end of the interval; NaN for fewer than two images.
        high: upper end, likewise.
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f} .. {self.high:.3f})"


@dataclass(frozen=True)
class Growth:
    r"""Evidence on whether one number grows with the level, over n images.

    Attributes:
        by_level: its mean at every level.
        change: the number at the last level minus that at the first, per image.
        trend: Kendall's :math:`\tau` of level and number within an image: 1 where it grows at every step, -1 where it
            falls at every step.
        growing: share of images whose number is larger at the last level than at the first.
    """

    by_level: list[Estimate]
    change: Estimate
    trend: Estimate
    growing: float

    def verdict(self) -> str:
        """Return ``grows`` or ``falls`` where both intervals say so, and otherwise ``neither``."""
        if self.change.low > 0 and self.trend.low > 0:
            return "grows"
        if self.change.high < 0 and self.trend.high < 0:
            return "falls"
        return "neither"


MEASURES: dict[str, Callable[[Agreement], float]] = {
    "neighbours": lambda measured: measured.neighbours,
    "any two": lambda measured: measured.any_two,
    "beyond": lambda measured: measured.excess,
    "islands": lambda measured: float(measured.islands),
}


def agreements(
    images: Iterable[Image.Image],
    teacher: Teacher,
    levels: Sequence[int],
    explained: float,
    resolution: int | None = None,
    way: str = "bilinear",
) -> list[list[Agreement]]:
    """Measure the agreement of every image at every level."""
    return [
        [
            agreement(grid.features, explained, grid.factor)
            for grid in grids_of_levels(image, teacher, levels, resolution, way)
        ]
        for image in images
    ]


def growth(measured: Sequence[Sequence[Agreement]], measure: str, seed: int = 0) -> Growth:
    """Test whether a number of ``MEASURES`` grows from level to level.

    Args:
        measured: the agreement of every image at every level, in the order of the levels.
        measure: name of the number.
        seed: seed of the bootstrap over images.

    Raises:
        UserError: for fewer than two images or two levels, which have no trend and no interval. Exit code 2.
    """
    values = np.array([[MEASURES[measure](one) for one in image] for image in measured])
    if len(values) < 2 or values.shape[1] < 2:
        raise UserError("a trend over levels needs at least two images and two levels", exit_code=2)
    order = np.arange(values.shape[1])
    # A number that is the same at every level has no order: it is evidence neither for growth nor against it.
    trends = np.array([0.0 if not np.ptp(image) else kendalltau(order, image).statistic for image in values])
    change = values[:, -1] - values[:, 0]
    return Growth(
        by_level=[mean_with_interval(level, seed) for level in values.T],
        change=mean_with_interval(change, seed),
        trend=mean_with_interval(trends, seed),
        growing=float((change > 0).mean()),
    )


def mean_with_interval(values: Floats, seed: int = 0) -> Estimate:
    """Return the mean of values ``(n,)``, one per image, with its interval."""
    mean = float(values.mean())
    if not np.ptp(values):  # all are equal: SciPy computes no interval, and it is known
        return Estimate(mean, mean, mean)
    generator = np.random.default_rng(seed)
    interval = bootstrap(
        (values,), np.mean, n_resamples=_RESAMPLES, vectorized=True, batch=500, method="percentile", rng=generator
    ).confidence_interval
    return Estimate(mean, float(interval.low), float(interval.high))
