"""Noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apm_tta.data.corruptions.apply import Generator, corruption


@corruption(imagenet=(0.08, 0.12, 0.18, 0.26, 0.38), cifar=(0.04, 0.06, 0.08, 0.09, 0.10))
def gaussian_noise(image: Image.Image, parameter: float, rng: Generator) -> NDArray[np.float64]:
    r"""Independent noise on every channel: :math:`x + \epsilon, \epsilon \sim N(0, c^2)`, for x in 0 .. 1."""
    scaled = np.asarray(image) / 255.0
    return np.clip(scaled + rng.normal(size=scaled.shape, scale=parameter), 0, 1) * 255
