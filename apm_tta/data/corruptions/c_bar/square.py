"""The square on which a corruption is defined: coordinates, draws and sums on it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apm_tta.data.corruptions.apply import Generator
from apm_tta.data.corruptions.draws import draw_integer

Floats = NDArray[np.float64]

TENTHS = 10
"""Severities are on a scale that ends here; a strength is the share of its largest value."""


def strength(severity: float, largest: float) -> float:
    """Return how strong a corruption is at the authors' severity."""
    return severity * largest / TENTHS


def side_of(image: Image.Image) -> int:
    """Return the side of the square that an image is cut from, pixels."""
    return max(image.size)


def coordinates(image: Image.Image) -> tuple[Floats, Floats]:
    """Return row and column of every pixel, each ``(H, W)``."""
    down, across = np.mgrid[: image.height, : image.width].astype(np.float64)
    return down, across


def seeded(rng: Generator) -> np.random.RandomState:
    """Draw a seed, and return the generator that all further draws are from, as the published code does."""
    return np.random.RandomState(draw_integer(rng, 0, 2**32))


def add_limited(image: NDArray[Any], noise: Floats) -> Floats:
    """Add noise to values ``(H, W, 3)``, limited to 0 .. 255."""
    return np.clip(image + noise, 0, 255)
