"""Digital corruptions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apm_tta.data.corruptions.apply import Generator, corruption, through_jpeg
from apm_tta.data.corruptions.grey_levels import to_grey_levels, to_unit_range
from apm_tta.data.corruptions.hsv import SATURATION, adjust_channel


@corruption("digital", imagenet=(0.4, 0.3, 0.2, 0.1, 0.05), cifar=(0.75, 0.5, 0.4, 0.3, 0.15))
def contrast(image: Image.Image, parameter: float, rng: Generator) -> NDArray[Any]:
    r"""Pull each channel towards its mean: :math:`c (x - \bar x) + \bar x`."""
    scaled = to_unit_range(image)
    means = scaled.mean(axis=(0, 1), keepdims=True)
    return to_grey_levels((scaled - means) * parameter + means)


@corruption(
    "digital",
    imagenet=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
    cifar=((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
)
def saturate(image: Image.Image, parameter: tuple[float, float], rng: Generator) -> NDArray[Any]:
    """Replace saturation s, of hue, saturation and value in 0 .. 1, by :math:`a s + b`; ``parameter`` is a and b."""
    return adjust_channel(image, SATURATION, *parameter)


@corruption("digital", imagenet=(0.6, 0.5, 0.4, 0.3, 0.25), cifar=(0.95, 0.9, 0.85, 0.75, 0.65))
def pixelate(image: Image.Image, parameter: float, rng: Generator) -> NDArray[np.uint8]:
    """Shrink both sides to the fraction ``parameter`` and enlarge them again, with box filters."""
    width, height = image.size
    small = image.resize((max(1, int(width * parameter)), max(1, int(height * parameter))), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BOX))


@corruption("digital", imagenet=(25, 18, 15, 10, 7), cifar=(80, 65, 58, 50, 40))
def jpeg_compression(image: Image.Image, parameter: int, rng: Generator) -> NDArray[np.uint8]:
    """Compress the image as JPEG at quality ``parameter``."""
    return np.asarray(through_jpeg(image, parameter))
