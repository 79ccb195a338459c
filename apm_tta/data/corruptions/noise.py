"""Noise corruptions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apm_tta.data.corruptions.apply import Generator, corruption
from apm_tta.data.corruptions.grey_levels import to_grey_levels, to_unit_range


@corruption("noise", imagenet=(0.08, 0.12, 0.18, 0.26, 0.38), cifar=(0.04, 0.06, 0.08, 0.09, 0.10))
def gaussian_noise(image: Image.Image, parameter: float, rng: Generator) -> NDArray[Any]:
    r"""Add independent noise to every channel: :math:`x + \epsilon, \epsilon \sim N(0, c^2)`, for x in 0 .. 1."""
    scaled = to_unit_range(image)
    return to_grey_levels(scaled + rng.normal(size=scaled.shape, scale=parameter))


@corruption("noise", imagenet=(60, 25, 12, 5, 3), cifar=(500, 250, 100, 75, 50))
def shot_noise(image: Image.Image, parameter: float, rng: Generator) -> NDArray[Any]:
    r"""Add the noise of counting photons, ``parameter`` of them for white: :math:`n / c, n \sim Poisson(c x)`."""
    return to_grey_levels(rng.poisson(to_unit_range(image) * parameter) / parameter)


@corruption("noise", imagenet=(0.03, 0.06, 0.09, 0.17, 0.27), cifar=(0.01, 0.02, 0.03, 0.05, 0.07))
def impulse_noise(image: Image.Image, parameter: float, rng: Generator) -> NDArray[np.uint8]:
    """Add salt and pepper, half each: ``parameter`` is the fraction of values replaced, each channel separately."""
    values = np.array(image)
    drawn = rng.uniform(size=values.shape)
    values[drawn < parameter] = 0
    values[drawn < parameter / 2] = 255
    return values


@corruption("noise", imagenet=(0.15, 0.2, 0.35, 0.45, 0.6), cifar=(0.06, 0.1, 0.12, 0.16, 0.2))
def speckle_noise(image: Image.Image, parameter: float, rng: Generator) -> NDArray[Any]:
    r"""Add noise proportional to the value: :math:`x + x \epsilon, \epsilon \sim N(0, c^2)`, for x in 0 .. 1."""
    scaled = to_unit_range(image)
    return to_grey_levels(scaled + scaled * rng.normal(size=scaled.shape, scale=parameter))
