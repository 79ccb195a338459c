"""Clouds of Perlin's noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apm_tta.data.corruptions.apply import Generator, corruption
from apm_tta.data.corruptions.c_bar.square import Floats, coordinates, seeded, side_of, strength

_TABLE = 256
"""Size of the lattice, after which it repeats."""

_OCTAVES = (1.0, 2.0, 4.0, 8.0, 16.0)
_LATTICE_SHARE = 32 / 224
"""Of the image's side: the distance of lattice points."""


@corruption("c-bar", imagenet=(4.6, 5.2, 5.8, 7.6, 8.8), cifar=())
def perlin_noise(image: Image.Image, parameter: float, rng: Generator) -> Floats:
    """Blend with clouds: the absolute values of five octaves of noise, each half as strong as the one before."""
    lattice = _Lattice(seeded(rng))
    down, across = (values * (1 / (_LATTICE_SHARE * side_of(image))) for values in coordinates(image))
    clouds = np.zeros(down.shape)
    for octave in _OCTAVES:
        clouds += np.abs(lattice.noise(octave * down, octave * across)) / octave
    share = strength(parameter, 0.5)
    blended = (1 - share) * np.asarray(image, np.float32) + 255 * share * np.clip(0.5 * clouds + 0.5, 0, 1)[..., None]
    return np.clip(blended, 0, 255)


class _Lattice:
    """Random slopes at the points of a lattice, between which noise is interpolated."""

    def __init__(self, generator: np.random.RandomState) -> None:
        size = 2 * _TABLE + 2
        drawn = [(generator.randint(0, 2**31, size=2) % (2 * _TABLE) - _TABLE) / _TABLE for _ in range(size)]
        self.slopes = np.array([slope / np.linalg.norm(slope) for slope in drawn])
        self.places = np.arange(size)
        for place in range(_TABLE - 1, -1, -1):
            other = generator.randint(0, 2**31) % _TABLE
            self.places[[place, other]] = self.places[[other, place]]
        for place in range(_TABLE + 2):  # one after the other: the last ones repeat what was just copied
            self.places[_TABLE + place] = self.places[place]
            self.slopes[_TABLE + place] = self.slopes[place]

    def noise(self, first: Floats, second: Floats) -> Floats:
        """Return the noise at points, each ``(H, W)``."""
        left, right, from_left = self._beside(first)
        above, below, from_above = self._beside(second)
        eased = from_left**2 * (3 - 2 * from_left)

        def along(row: NDArray[np.int64], offset: Floats) -> Floats:
            at_left = self._slope(left, row, from_left, offset)
            return np.asarray(at_left + eased * (self._slope(right, row, from_left - 1, offset) - at_left))

        upper = along(above, from_above)
        return np.asarray(1.5 * (upper + from_above**2 * (3 - 2 * from_above) * (along(below, from_above - 1) - upper)))

    def _beside(self, values: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
        moved = values + 16 * _TABLE
        place = moved.astype(np.int64) % _TABLE
        return place, (place + 1) % _TABLE, moved % 1

    def _slope(self, column: NDArray[np.int64], row: NDArray[np.int64], first: Floats, second: Floats) -> Floats:
        slopes = self.slopes[self.places[self.places[column] + row]]
        return np.asarray(first * slopes[..., 0] + second * slopes[..., 1])
