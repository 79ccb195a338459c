"""Conversion between grey levels 0 .. 255 and numbers in 0 .. 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def to_unit_range(image: Image.Image, dtype: type[np.floating[Any]] = np.float64) -> NDArray[Any]:
    """Convert an image to values in 0 .. 1, ``(H, W, 3)``."""
    return np.asarray(np.asarray(image, dtype=dtype) / 255.0)


def to_grey_levels(values: NDArray[Any]) -> NDArray[Any]:
    """Scale values in 0 .. 1 to 0 .. 255 without rounding; values outside are clipped."""
    return np.asarray(np.clip(values, 0, 1) * 255)
