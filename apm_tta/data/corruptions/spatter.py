"""Spatter: drops of water or mud on the lens."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apm_tta.data.corruptions.apply import Generator, corruption
from apm_tta.data.corruptions.blur import gaussian_smooth
from apm_tta.data.corruptions.grey_levels import to_grey_levels, to_unit_range

_PALE_TURQUOISE = np.array([175, 238, 238], np.float64) / 255
_MUD_BROWN = np.array([63, 42, 20], np.float64) / 255
# Filter that lights a drop from one side.
_RELIEF = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])


@corruption(
    "weather",
    imagenet=(
        (0.65, 0.3, 4, 0.69, 0.6, False),
        (0.65, 0.3, 3, 0.68, 0.6, False),
        (0.65, 0.3, 2, 0.68, 0.5, False),
        (0.65, 0.3, 1, 0.65, 1.5, True),
        (0.67, 0.4, 1, 0.65, 1.5, True),
    ),
    cifar=(
        (0.62, 0.1, 0.7, 0.7, 0.5, False),
        (0.65, 0.1, 0.8, 0.7, 0.5, False),
        (0.65, 0.3, 1, 0.69, 0.5, False),
        (0.65, 0.1, 0.7, 0.69, 0.6, True),
        (0.65, 0.1, 0.5, 0.68, 0.6, True),
    ),
)
def spatter(
    image: Image.Image, parameter: tuple[float, float, float, float, float, bool], rng: Generator
) -> NDArray[Any]:
    """Put drops where smoothed noise is high.

    ``parameter``: mean and standard deviation of the noise; the sigma that smooths it, in pixels; the level above which
    there is liquid; for water its maximum opacity, for mud the sigma of its edge in pixels; and whether it is mud.
    """
    mean, deviation, sigma, level, look, is_mud = parameter
    scaled = to_unit_range(image, np.float32)
    liquid = gaussian_smooth(rng.normal(size=scaled.shape[:2], loc=mean, scale=deviation), sigma)
    liquid[liquid < level] = 0
    return to_grey_levels(
        cover_with_mud(scaled, liquid > level, look) if is_mud else cover_with_water(scaled, liquid, look)
    )


def cover_with_mud(scaled: NDArray[np.float32], is_liquid: NDArray[np.bool_], sigma: float) -> NDArray[np.float32]:
    """Cover ``(H, W, 3)`` in 0 .. 1 with mud, which is thin nowhere: below 0.8 of full cover there is none."""
    cover = gaussian_smooth(is_liquid.astype(np.float32), sigma)[:, :, None]
    cover[cover < 0.8] = 0
    return np.asarray(scaled * (1 - cover) + _MUD_BROWN.astype(np.float32) * cover)


def cover_with_water(scaled: NDArray[np.float32], liquid: NDArray[np.float64], opacity: float) -> NDArray[np.float32]:
    """Cover ``(H, W, 3)`` in 0 .. 1 with drops, thick away from their edges and lit from one side."""
    # Above 1 the level wraps around to 0, as in the published code; through an integer, where wrapping is defined.
    grey = (liquid * 255).astype(np.int64).astype(np.uint8)
    depth = cv2.distanceTransform(255 - cv2.Canny(grey, 50, 150), cv2.DIST_L2, 5)
    depth = np.minimum(depth, 20)
    relief = cv2.equalizeHist(cv2.blur(depth, (3, 3)).astype(np.uint8))
    relief = cv2.blur(cv2.filter2D(relief, cv2.CV_8U, _RELIEF), (3, 3))
    water = grey * relief.astype(np.float32)
    if not water.any():
        return scaled
    water = water / water.max() * np.float32(opacity)
    return np.asarray(scaled + water[:, :, None] * _PALE_TURQUOISE.astype(np.float32))
