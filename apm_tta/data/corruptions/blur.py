"""Blur."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apm_tta.data.corruptions.apply import Generator, corruption


def disk(radius: float, alias_blur: float) -> NDArray[np.float32]:
    """The kernel of a lens out of focus: a disk of ``radius`` pixels, its edge smoothed by ``alias_blur`` pixels."""
    extent, smoothing = (8, (3, 3)) if radius <= 8 else (int(radius), (5, 5))
    axis = np.arange(-extent, extent + 1)
    across, down = np.meshgrid(axis, axis)
    kernel = np.array(across**2 + down**2 <= radius**2, dtype=np.float32)
    kernel /= kernel.sum()
    return np.asarray(cv2.GaussianBlur(kernel, ksize=smoothing, sigmaX=alias_blur), dtype=np.float32)


@corruption(
    imagenet=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    cifar=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
)
def defocus_blur(image: Image.Image, parameter: tuple[float, float], rng: Generator) -> NDArray[Any]:
    """Each channel filtered with a disk; ``parameter`` is its radius and the smoothing of its edge, pixels."""
    kernel = disk(*parameter)
    scaled = np.asarray(image) / 255.0
    channels = [cv2.filter2D(np.ascontiguousarray(scaled[:, :, channel]), -1, kernel) for channel in range(3)]
    return np.clip(np.stack(channels, axis=-1), 0, 1) * 255
