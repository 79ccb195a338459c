"""Weather corruptions."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apm_tta.data.corruptions.apply import Generator, corruption
from apm_tta.data.corruptions.draws import draw_integer
from apm_tta.data.corruptions.frost_textures import FILES, covering_texture
from apm_tta.data.corruptions.grey_levels import to_grey_levels, to_unit_range
from apm_tta.data.corruptions.hsv import VALUE, adjust_channel
from apm_tta.data.corruptions.motion import blur_along_line
from apm_tta.data.corruptions.plasma import plasma
from apm_tta.data.corruptions.zoom import enlarge


@corruption(
    "weather",
    imagenet=(
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    cifar=(
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
)
def snow(
    image: Image.Image, parameter: tuple[float, float, float, float, float, float, float], rng: Generator
) -> NDArray[Any]:
    """Overlay a whitened image with flakes that fall at one angle, and with the same flakes rotated by 180 degrees.

    ``parameter``: mean and standard deviation of the noise that flakes are cut from, its enlargement factor, the level
    above which there is a flake, radius and standard deviation of its trail in pixels, the weight of the image itself.
    """
    mean, deviation, size, level, radius, sigma, share = parameter
    scaled = to_unit_range(image, np.float32)
    noise = enlarge(rng.normal(size=scaled.shape[:2], loc=mean, scale=deviation), size)
    noise[noise < level] = 0
    flakes = (np.clip(noise, 0, 1) * 255).astype(np.uint8)
    fallen = blur_along_line(flakes, radius, sigma, angle=rng.uniform(-135, -45))[:, :, None] / 255.0
    white = cv2.cvtColor(scaled, cv2.COLOR_RGB2GRAY)[:, :, None] * 1.5 + 0.5
    ground = share * scaled + (1 - share) * np.maximum(scaled, white)
    return to_grey_levels(ground + fallen + np.rot90(fallen, k=2))


@corruption(
    "weather",
    imagenet=((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
    cifar=((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
)
def frost(image: Image.Image, parameter: tuple[float, float, float], rng: Generator) -> NDArray[Any]:
    """Overlay a photograph of frost; ``parameter`` is the weight of the image, that of the frost, and its scale."""
    share, frosted, scale = parameter
    width, height = image.size
    texture = covering_texture(draw_integer(rng, 0, len(FILES)), height, width, scale)
    row = draw_integer(rng, 0, texture.shape[0] - height)
    column = draw_integer(rng, 0, texture.shape[1] - width)
    covering = texture[row : row + height, column : column + width]
    return np.asarray(np.clip(share * np.asarray(image) + frosted * covering, 0, 255))


@corruption(
    "weather",
    imagenet=((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    cifar=((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
)
def fog(image: Image.Image, parameter: tuple[float, float], rng: Generator) -> NDArray[Any]:
    r"""Add clouds p in 0 .. 1 to the image x, which keeps its range.

    .. math::
        (x + c p) \frac{m}{m + c}, \quad m = \max x

    ``parameter`` is c and the factor by which the clouds become fainter at every finer scale.
    """
    thickness, decay = parameter
    width, height = image.size
    scaled = to_unit_range(image)
    brightest = scaled.max()
    clouds = plasma(1 << (max(width, height, 2) - 1).bit_length(), decay, rng)[:height, :width, None]
    return to_grey_levels((scaled + thickness * clouds) * brightest / (brightest + thickness))


@corruption("weather", imagenet=(0.1, 0.2, 0.3, 0.4, 0.5), cifar=(0.05, 0.1, 0.15, 0.2, 0.3))
def brightness(image: Image.Image, parameter: float, rng: Generator) -> NDArray[Any]:
    """Add ``parameter`` to the value channel of hue, saturation and value, all in 0 .. 1."""
    return adjust_channel(image, VALUE, 1, parameter)
