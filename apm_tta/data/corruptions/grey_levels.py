"""Grey levels as numbers in 0 .. 1, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def unit(image: Image.Image, dtype: type[np.floating[Any]] = np.float64) -> NDArray[Any]:
    """``(H, W, 3)`` in 0 .. 1."""
    return np.asarray(np.asarray(image, dtype=dtype) / 255.0)


def levels(values: NDArray[Any]) -> NDArray[Any]:
    """Values in 0 .. 1 as 0 .. 255, not rounded; what lies outside becomes the nearest that lies inside."""
    return np.asarray(np.clip(values, 0, 1) * 255)
