"""Fractal clouds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apm_tta.data.corruptions.apply import Generator


def plasma(size: int, decay: float, rng: Generator) -> NDArray[np.float64]:
    """Draw a height map by the diamond-square algorithm, on a torus.

    Each round sets the midpoints of squares, then of the diamonds between them, at half the distance of the round
    before; each is the mean of its four neighbours plus an amount drawn uniformly.

    Args:
        size: side of the map, pixels; a power of two.
        decay: factor by which the largest amount shrinks per round: the higher, the smoother.
        rng: source of the amounts.

    Returns:
        Heights in 0 .. 1 ``(size, size)``, including 0 and 1.

    Raises:
        ValueError: when ``size`` is not a power of two.
    """
    if size < 2 or size & (size - 1):
        raise ValueError(f"a height map cannot have {size} pixels per side; expected a power of two")
    heights = np.zeros((size, size))
    step, amplitude = size, 100.0

    def displaced(sum_of_four: NDArray[np.float64]) -> NDArray[np.float64]:
        # Multiplied by the amplitude on top of its range, as in the published code: the amounts fall as its square.
        return sum_of_four / 4 + amplitude * np.asarray(rng.uniform(-amplitude, amplitude, sum_of_four.shape))

    while step >= 2:
        half = step // 2
        corners, centres = heights[::step, ::step], heights[half::step, half::step]
        columns_of_two = corners + np.roll(corners, -1, axis=0)
        centres[:] = displaced(columns_of_two + np.roll(columns_of_two, -1, axis=1))
        above_and_below, left_and_right = centres + np.roll(centres, 1, axis=0), corners + np.roll(corners, -1, axis=1)
        heights[::step, half::step] = displaced(above_and_below + left_and_right)
        left_and_right, above_and_below = centres + np.roll(centres, 1, axis=1), corners + np.roll(corners, -1, axis=0)
        heights[half::step, ::step] = displaced(left_and_right + above_and_below)
        step, amplitude = half, amplitude / decay
    heights -= heights.min()
    return np.asarray(heights / heights.max())
