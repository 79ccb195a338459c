"""Motion blur as ImageMagick defines it: a trail to one side, along a line of whole pixels."""

from __future__ import annotations

from math import ceil, cos, hypot, radians, sin
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def motion_trail(radius: float, sigma: float, angle: float) -> tuple[NDArray[np.float64], list[tuple[int, int]]]:
    r"""Compute the weights of the pixels along a line, and their positions.

    .. math::
        w_i \propto e^{-i^2 / 2 \sigma^2}, \quad
        (\lceil i \cos\theta - 1/2 \rceil, \lceil i \sin\theta - 1/2 \rceil), \quad i = 0 .. 2 \lceil r \rceil

    Args:
        radius: r, pixels; the trail is twice as long.
        sigma: standard deviation of the one-sided Gaussian, pixels.
        angle: direction of the line, degrees, clockwise from the right.

    Returns:
        Weights that sum to 1 ``(n,)``, and n offsets ``(right, down)`` in pixels.
    """
    count = 2 * ceil(radius) + 1
    weights = np.exp(-(np.arange(count) ** 2) / (2.0 * sigma**2))
    # Scaled by ``count`` and divided by the length again, as in the original: what rounds down there must do so here.
    down, right = count * sin(radians(angle)), count * cos(radians(angle))
    length = hypot(down, right)
    offsets = [(ceil(i * right / length - 0.5), ceil(i * down / length - 0.5)) for i in range(count)]
    return weights / weights.sum(), offsets


def blur_along_line(pixels: NDArray[np.uint8], radius: float, sigma: float, angle: float) -> NDArray[np.uint8]:
    """Blur ``(H, W)`` or ``(H, W, C)`` in 0 .. 255 along a line; beyond an edge its pixels are repeated.

    ImageMagick works with 16 bits, 257 levels per grey level, and rounds to the nearest of those. From there to a grey
    level it rounds down: this contradicts its source but agrees with every pixel of the authors' images.

    Args:
        pixels: grey levels, 0 .. 255.
        radius: half the length of the trail, pixels.
        sigma: its standard deviation, pixels.
        angle: its direction, degrees.
    """
    weights, offsets = motion_trail(radius, sigma, angle)
    height, width = pixels.shape[:2]
    left, above = -min(right for right, _ in offsets), -min(down for _, down in offsets)
    to_right, below = max(right for right, _ in offsets), max(down for _, down in offsets)
    around = cv2.copyMakeBorder(pixels, above, below, left, to_right, cv2.BORDER_REPLICATE).astype(np.float64)
    blurred: NDArray[Any] = np.zeros(pixels.shape)
    for weight, (right, down) in zip(weights, offsets, strict=True):
        row, column = above + down, left + right
        blurred = cv2.scaleAdd(around[row : row + height, column : column + width], weight, blurred)
    return (np.floor(blurred * 257 + 0.5) // 257).astype(np.uint8)
