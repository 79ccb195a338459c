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
from apm_tta.data.corruptions.grey_levels import levels, unit

# ImageNet's side is 224. The published code says 244, and so do the released images.
_IMAGENET, _CIFAR = 244, 32


@lru_cache(maxsize=32)
def attenuation(length: int, sigma: float) -> NDArray[np.float64]:
    r"""What share a Gaussian leaves of each frequency of a line of ``length`` pixels, mirrored at its ends.

    .. math::
        g_k = \frac{\sum_{|j| \le r} w_j \cos(\pi j k / n)}{\sum_{|j| \le r} w_j}, \quad
        w_j = e^{-j^2 / 2 \sigma^2}, \quad r = \lfloor 3 \sigma + 1/2 \rfloor

    Weights are gathered by the place in a period of 2 n pixels that they fall on: r can be larger than the image.
    """
    radius = int(3 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-(offsets**2) / (2 * sigma**2)) if radius else np.ones(1)
    period = np.bincount(offsets % (2 * length), weights / weights.sum(), minlength=2 * length)
    return np.asarray(dct(period[: length + 1], type=1)[:length])


def smoothed(values: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """``(H, W)`` filtered by a Gaussian of ``sigma`` pixels cut off at 3 sigma, the image mirrored at its edges.

    By cosine transforms, whose basis is mirrored at the edges: a kernel of 1025 pixels costs what one of 3 does.
    """
    height, width = values.shape
    kept = attenuation(height, sigma)[:, None] * attenuation(width, sigma)
    return np.asarray(idctn(dctn(values) * kept))


def corners_moved(height: int, width: int, most: float, rng: Generator) -> NDArray[np.float64]:
    """The affine map that moves three corners of a square about the middle by up to ``most`` pixels, ``(2, 3)``."""
    across, down = float(width // 2), float(height // 2)
    reach = min(height, width) // 3
    corners = np.array(
        [[across + reach, down + reach], [across + reach, down - reach], [across - reach, down - reach]], np.float32
    )
    moved = corners + rng.uniform(-most, most, size=(3, 2)).astype(np.float32)
    return np.asarray(cv2.getAffineTransform(corners, moved))


@corruption(
    "digital",
    imagenet=tuple(
        tuple(_IMAGENET * share for share in shares)
        for shares in ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
    ),
    cifar=tuple(
        tuple(_CIFAR * share for share in shares)
        for shares in ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))
    ),
)
def elastic_transform(image: Image.Image, parameter: tuple[float, float, float], rng: Generator) -> NDArray[Any]:
    """Sheared and turned a little, then every pixel displaced, its neighbours alike.

    ``parameter``, in pixels: the displacement's range before it is smoothed, the sigma of the Gaussian that smooths it,
    and how far the corners move.
    """
    strength, sigma, most = parameter
    width, height = image.size
    affine = corners_moved(height, width, most, rng)
    turned = cv2.warpAffine(unit(image, np.float32), affine, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    right, down = (
        (smoothed(rng.uniform(-1, 1, size=(height, width)), sigma) * strength).astype(np.float32) for _ in range(2)
    )
    places = np.arange(height)[:, None] + down, np.arange(width) + right
    channels = [map_coordinates(turned[:, :, channel], places, order=1, mode="reflect") for channel in range(3)]
    return levels(np.stack(channels, axis=-1))
