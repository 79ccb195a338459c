"""Answers of two cells side by side: showing by showing of each image, and tested image by image.

Where images are shown several times, the showings of one are not independent: they are of one picture. So an image is
the unit that is drawn and whose sign is flipped, with all of its showings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from apm_tta.report.cell_answers import Answers, Ints, image_numbers, positions
from apm_tta.report.statistics import mcnemar_p, paired_interval, paired_mean_interval, sign_flip_p

SHOWN_SEVERAL_TIMES = (
    "Images were shown several times: n counts showings, and intervals and p are of images with all of their showings, "
    "which are not independent of each other."
)
"""The note of a table with such rows."""


def paired_rows(one: Answers, other: Answers) -> tuple[Ints, Ints]:
    """Return the rows of two cells that answer the same showing of an image, in the order of ``one``.

    The k-th showing in one cell goes with the k-th in the other. A cell that was shown every image once, as of an
    episodic method, has one answer to all showings.
    """
    if one.showing is None and other.showing is not None:
        there, here = paired_rows(other, one)
        order = np.argsort(here, kind="stable")
        return here[order], there[order]
    places = positions(one.ids, other.ids)
    if one.showing is None or other.showing is None:
        rows: Ints = np.flatnonzero(places >= 0)
        return rows, places[rows]
    # The first row of each image in ``other`` stands for the image.
    showings = 1 + int(max(one.showing.max(initial=0), other.showing.max(initial=0)))
    keys = places * showings + one.showing
    others = positions(other.ids, other.ids) * showings + other.showing
    _, here, there = np.intersect1d(keys[places >= 0], others, assume_unique=True, return_indices=True)
    order = np.argsort(here, kind="stable")
    return np.flatnonzero(places >= 0)[here[order]], there[order]


@dataclass(frozen=True)
class Paired:
    """What one cell gained over another, ``(n,)`` answers to the same showings.

    Attributes:
        gained: 1 where only the one is right, -1 where only the other is, else 0.
        images: which image each answer is of, from 0; None where every image was shown once.
        right: answers of the other that are right.
    """

    gained: Ints
    images: Ints | None
    right: int

    def __len__(self) -> int:
        return len(self.gained)

    @property
    def only_one(self) -> int:
        """Answers that only the one got right."""
        return int((self.gained > 0).sum())

    @property
    def only_other(self) -> int:
        """Answers that only the other got right."""
        return int((self.gained < 0).sum())

    def p(self) -> float:
        """Compute McNemar's exact p, or the exact p of the signs of images where some were shown several times."""
        if self.images is None:
            return mcnemar_p(self.only_one, self.only_other)
        return sign_flip_p(self._by_image())

    def interval(self) -> tuple[float, float]:
        """Compute the paired bootstrap interval of the difference in accuracy, one minus other, ends in -1 .. 1."""
        if self.images is None:
            return paired_interval(self.only_one, self.only_other, len(self))
        return paired_mean_interval(self._by_image(), np.bincount(self.images))

    def _by_image(self) -> Ints:
        assert self.images is not None
        return np.rint(np.bincount(self.images, weights=self.gained)).astype(np.int64)


def pair(one: Answers, other: Answers) -> Paired:
    """Pair the answers of two cells."""
    here, there = paired_rows(one, other)
    gained = one.right[here].astype(np.int64) - other.right[there]
    several = one.showing is not None or other.showing is not None
    images = image_numbers(one.ids.take(here)) if several else None
    return Paired(gained, images, int(other.right[there].sum()))
