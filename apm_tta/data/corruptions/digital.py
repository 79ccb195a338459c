"""Digital corruptions."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apm_tta.data.corruptions.apply import Generator, corruption


@corruption(imagenet=(0.4, 0.3, 0.2, 0.1, 0.05), cifar=(0.75, 0.5, 0.4, 0.3, 0.15))
def contrast(image: Image.Image, parameter: float, rng: Generator) -> NDArray[np.float64]:
    r"""Each channel drawn towards its mean: :math:`c (x - \bar x) + \bar x`."""
    scaled = np.asarray(image) / 255.0
    means = scaled.mean(axis=(0, 1), keepdims=True)
    return np.asarray(np.clip((scaled - means) * parameter + means, 0, 1) * 255)


@corruption(imagenet=(0.6, 0.5, 0.4, 0.3, 0.25), cifar=(0.95, 0.9, 0.85, 0.75, 0.65))
def pixelate(image: Image.Image, parameter: float, rng: Generator) -> NDArray[np.uint8]:
    """Shrunk to ``parameter`` of its sides and back again, both by averaging boxes."""
    width, height = image.size
    small = image.resize((max(1, int(width * parameter)), max(1, int(height * parameter))), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BOX))


@corruption(imagenet=(25, 18, 15, 10, 7), cifar=(80, 65, 58, 50, 40))
def jpeg_compression(image: Image.Image, parameter: int, rng: Generator) -> NDArray[np.uint8]:
    """Through JPEG at quality ``parameter``."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=parameter)
    return np.asarray(Image.open(buffer))
