"""Blur corruptions."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from apm_tta.data.corruptions.apply import Generator, corruption
from apm_tta.data.corruptions.draws import draw_integers
from apm_tta.data.corruptions.glass import source_pixels
from apm_tta.data.corruptions.grey_levels import to_grey_levels, to_unit_range
from apm_tta.data.corruptions.motion import blur_along_line
from apm_tta.data.corruptions.zoom import sum_enlargements


@lru_cache(maxsize=32)
def disk_kernel(radius: float, alias_blur: float) -> NDArray[np.float32]:
    """Compute a defocused lens's kernel: a disk of ``radius`` pixels, its edge smoothed by ``alias_blur`` pixels."""
    extent, smoothing = (8, (3, 3)) if radius <= 8 else (int(radius), (5, 5))
    axis = np.arange(-extent, extent + 1)
    across, down = np.meshgrid(axis, axis)
    kernel = np.array(across**2 + down**2 <= radius**2, dtype=np.float32)
    kernel /= kernel.sum()
    return np.asarray(cv2.GaussianBlur(kernel, ksize=smoothing, sigmaX=alias_blur), dtype=np.float32)


@corruption(
    "blur",
    imagenet=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    cifar=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
)
def defocus_blur(image: Image.Image, parameter: tuple[float, float], rng: Generator) -> NDArray[Any]:
    """Filter each channel with a disk; ``parameter`` is its radius and the smoothing of its edge, pixels."""
    kernel = disk_kernel(*parameter)
    scaled = to_unit_range(image)
    channels = [cv2.filter2D(np.ascontiguousarray(scaled[:, :, channel]), -1, kernel) for channel in range(3)]
    return to_grey_levels(np.stack(channels, axis=-1))


def gaussian_smooth(values: NDArray[Any], sigma: float) -> NDArray[Any]:
    """Filter ``(H, W)`` or ``(H, W, C)`` over H and W with a Gaussian of ``sigma`` pixels, cut off at 4 sigma."""
    return np.asarray(gaussian_filter(values, (sigma, sigma, 0)[: values.ndim], mode="nearest", truncate=4.0))


@corruption("blur", imagenet=(1, 2, 3, 4, 6), cifar=(0.4, 0.6, 0.7, 0.8, 1))
def gaussian_blur(image: Image.Image, parameter: float, rng: Generator) -> NDArray[Any]:
    """Filter each channel with a Gaussian of ``parameter`` pixels."""
    return to_grey_levels(gaussian_smooth(to_unit_range(image), parameter))


@corruption(
    "blur",
    imagenet=((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    cifar=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
)
def glass_blur(image: Image.Image, parameter: tuple[float, int, int], rng: Generator) -> NDArray[Any]:
    """Blur the image, displace its pixels, and blur it again.

    ``parameter`` is the Gaussian's sigma in pixels, the longest displacement in pixels (one less to the right and
    down), and the number of passes over the image.
    """
    sigma, reach, passes = parameter
    width, height = image.size
    pixels = (gaussian_smooth(to_unit_range(image), sigma) * 255).astype(np.uint8).reshape(-1, 3)
    visited = (max(0, height - 2 * reach), max(0, width - 2 * reach))
    for offsets in draw_integers(rng, -reach, reach, size=(passes, *visited, 2)):
        pixels = pixels[source_pixels(offsets, height, width, reach)]
    return to_grey_levels(gaussian_smooth(pixels.reshape(height, width, 3) / 255.0, sigma))


@corruption(
    "blur",
    imagenet=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    cifar=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
)
def motion_blur(image: Image.Image, parameter: tuple[float, float], rng: Generator) -> NDArray[np.uint8]:
    """Blur along a line up to 45 degrees off horizontal; ``parameter`` is radius and standard deviation, pixels."""
    return blur_along_line(np.asarray(image), *parameter, angle=rng.uniform(-45, 45))


@corruption(
    "blur",
    imagenet=((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    cifar=((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
)
def zoom_blur(image: Image.Image, parameter: tuple[float, float], rng: Generator) -> NDArray[Any]:
    """Average the image with enlargements of it; ``parameter`` is the end of their factors, from 1, and their step.

    One of the factors is 1, so the image counts twice, as in the published code.
    """
    scaled = to_unit_range(image, np.float32)
    factors = np.arange(1, *parameter)
    return to_grey_levels((scaled + sum_enlargements(scaled, factors)) / (len(factors) + 1))
