"""Elastic deformation."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dct, dctn, idctn
from scipy.ndimage import map_coordinates

from apm_tta.data.corruptions.apply import Generator, corruption
from apm_tta.data.corruptions.grey_levels import to_grey_levels, to_unit_range

# ImageNet's side is 224. The published code has 244, and the released images agree with it.
_IMAGENET_SIDE, _CIFAR_SIDE = 244, 32


@lru_cache(maxsize=32)
def attenuation(length: int, sigma: float) -> NDArray[np.float64]:
    r"""Compute how a Gaussian attenuates each frequency of a line of ``length`` pixels, mirrored at its ends.

    .. math::
        g_k = \frac{\sum_{|j| \le r} w_j \cos(\pi j k / n)}{\sum_{|j| \le r} w_j}, \quad
        w_j = e^{-j^2 / 2 \sigma^2}, \quad r = \lfloor 3 \sigma + 1/2 \rfloor

    Weights are summed by their position in a period of 2 n pixels, since r can be larger than the image.
    """
    radius = int(3 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-(offsets**2) / (2 * sigma**2)) if radius else np.ones(1)
    period = np.bincount(offsets % (2 * length), weights / weights.sum(), minlength=2 * length)
    return np.asarray(dct(period[: length + 1], type=1)[:length])


def smooth(values: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Filter ``(H, W)`` with a Gaussian of ``sigma`` pixels cut off at 3 sigma, the image mirrored at its edges.

    It uses cosine transforms, whose basis is mirrored at the edges: a kernel of 1025 pixels costs what one of 3 does.
    """
    height, width = values.shape
    factors = attenuation(height, sigma)[:, None] * attenuation(width, sigma)
    return np.asarray(idctn(dctn(values) * factors))


def random_affine_map(height: int, width: int, max_shift: float, rng: Generator) -> NDArray[np.float64]:
    """Draw the affine map ``(2, 3)`` that moves three corners of a central square by up to ``max_shift`` pixels."""
    across, down = float(width // 2), float(height // 2)
    reach = min(height, width) // 3
    corners = np.array(
        [[across + reach, down + reach], [across + reach, down - reach], [across - reach, down - reach]], np.float32
    )
    moved = corners + rng.uniform(-max_shift, max_shift, size=(3, 2)).astype(np.float32)
    return np.asarray(cv2.getAffineTransform(corners, moved))


@corruption(
    "digital",
    imagenet=tuple(
        tuple(_IMAGENET_SIDE * share for share in shares)
        for shares in ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
    ),
    cifar=tuple(
        tuple(_CIFAR_SIDE * share for share in shares)
        for shares in ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))
    ),
)
def elastic_transform(image: Image.Image, parameter: tuple[float, float, float], rng: Generator) -> NDArray[Any]:
    """Shear and rotate the image slightly, then displace every pixel, neighbouring pixels alike.

    ``parameter``, in pixels: the displacement's range before it is smoothed, the sigma of the Gaussian that smooths it,
    and how far the corners move at most.
    """
    strength, sigma, max_shift = parameter
    width, height = image.size
    affine = random_affine_map(height, width, max_shift, rng)
    scaled = to_unit_range(image, np.float32)
    warped = cv2.warpAffine(scaled, affine, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    right, down = (
        (smooth(rng.uniform(-1, 1, size=(height, width)), sigma) * strength).astype(np.float32) for _ in range(2)
    )
    positions = np.arange(height)[:, None] + down, np.arange(width) + right
    channels = [map_coordinates(warped[:, :, channel], positions, order=1, mode="reflect") for channel in range(3)]
    return to_grey_levels(np.stack(channels, axis=-1))
