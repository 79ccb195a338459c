"""An image under moving water: light that is gathered in lines, and bent by them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from apm_tta.data.corruptions.apply import Generator, corruption
from apm_tta.data.corruptions.c_bar.square import Floats, coordinates, side_of, strength

_TURN = 6.28318530718
_LUMA = (0.2126, 0.7152, 0.0722)
_ETA = 4.0
"""Ratio of the refractive indices."""

_FLAT = 1 - 1e-3
"""Cosine of the steepest slope that bends no light."""


@corruption("c-bar", imagenet=(2.35, 3.2, 4.9, 6.6, 9.15), cifar=())
def caustic_refraction(image: Image.Image, parameter: float, rng: Generator) -> NDArray[Any]:
    """Bend the light of every pixel by the slope of caustics, and brighten or darken it by that slope."""
    time, size = rng.uniform(0.5, 2.0), rng.uniform(0.75, 1.25) * side_of(image)
    down, across = coordinates(image)
    light = gaussian_filter(np.repeat(_caustics(down / size, across / size, time)[..., None], 3, axis=2), sigma=1)
    luma = np.pad(light @ np.array(_LUMA), 1)
    along_columns, along_rows = luma[1:-1, 2:] - luma[1:-1, :-2], luma[2:, 1:-1] - luma[:-2, 1:-1]
    bent = np.round(_refracted(along_rows, along_columns) * strength(parameter, 0.5 * side_of(image)), 3)
    shown = _interpolated(np.asarray(image, np.float32) / 255, down + bent[0], across + bent[1])
    # One after the other, each rounded to single precision, as in the published code.
    for slope in (-along_columns, along_rows):
        shown = (shown + (slope * strength(parameter, 2.0)).astype(np.float32)[..., None]).astype(shown.dtype)
    return np.asarray(np.clip(shown, 0, 1) * 255)


def _caustics(down: Floats, across: Floats, time: float) -> Floats:
    """Return the brightness of caustics, 0 .. 1, at points in units of their period."""
    place = [values % 1 * _TURN - 250 for values in (down, across)]
    moved, total, fineness = place, np.ones(down.shape), 0.005
    for number in range(1, 6):
        now = time * (1 - 3.5 / number)
        moved = [
            place[0] + (np.cos(now - moved[0]) + np.sin(now + moved[1])),
            place[1] + (np.sin(now - moved[1]) + np.cos(now + moved[0])),
        ]
        across_waves = place[0] / (np.sin(moved[0] + now) / fineness)
        total = total + 1 / np.sqrt(across_waves**2 + (place[1] / (np.cos(moved[1] + now) / fineness)) ** 2)
    return np.asarray(np.clip(np.abs(1.17 - (total / 5) ** 1.4) ** 8, 0, 1))


def _refracted(first: Floats, second: Floats) -> Floats:
    """Return where light from straight ahead goes behind a surface with these slopes, ``(2, H, W)``."""
    length = np.sqrt(first**2 + second**2 + 1)
    cosine = 1 / length
    bent = np.arcsin(np.sin(np.arccos(cosine)) / _ETA)
    sideways = np.maximum(np.sqrt(first**2 + second**2), np.finfo(np.float64).tiny)
    # In the plane of the light and the normal: along the normal, and at a right angle to it.
    share = np.cos(bent) / length - np.sin(bent) * cosine / sideways
    return np.where(cosine >= _FLAT, 0, np.stack([first, second]) * share)


def _interpolated(values: NDArray[Any], down: Floats, across: Floats) -> NDArray[Any]:
    """Interpolate values ``(H, W, 3)`` at points in single precision, with black around them."""
    top, left = np.floor(down), np.floor(across)

    def at(row: Floats, column: Floats) -> NDArray[Any]:
        inside = (row >= 0) & (row < values.shape[0]) & (column >= 0) & (column < values.shape[1])
        rows, columns = np.where(inside, row, 0).astype(int), np.where(inside, column, 0).astype(int)
        return np.where(inside[..., None], values[rows, columns], np.float32(0))

    def weighted(row: Floats) -> NDArray[Any]:
        near, far = (1 - across + left).astype(np.float32)[..., None], (across - left).astype(np.float32)[..., None]
        return at(row, left) * near + at(row, left + 1) * far

    return (
        weighted(top) * (1 - down + top).astype(np.float32)[..., None]
        + weighted(top + 1) * (down - top).astype(np.float32)[..., None]
    )
