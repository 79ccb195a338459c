"""Stars with rays: drawn over the image, or all that is left of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apm_tta.data.corruptions.apply import Generator, corruption
from apm_tta.data.corruptions.c_bar.square import Floats, coordinates, seeded, side_of, strength
from apm_tta.data.corruptions.draws import draw_integer, draw_integers

STARS, WHITE = 5, 255
_RAGGED = 0.25
"""Standard deviation of the length of rays, as a share of it."""


@corruption("c-bar", imagenet=(1.0, 2.0, 3.0, 5.0, 6.0), cifar=(0.7, 3.5, 5.6, 6.3, 7.0))
def sparkles(image: Image.Image, parameter: float, rng: Generator) -> Floats:
    """Draw five white stars, one over the other."""
    side = side_of(image)
    centres = rng.uniform(0, side, size=(STARS, 2))
    radius = strength(parameter, 0.1) * side
    generator, rays = seeded(rng), draw_integers(rng, 50, 200, STARS)
    values: NDArray[Any] = np.asarray(image)
    for centre, number in zip(centres, rays, strict=True):
        lengths = np.maximum(1, radius + _RAGGED * radius * generator.randn(number))
        before = values.astype(np.float32)
        values = before + _star(image, centre, lengths, 1.0)[..., None] * (WHITE - before.astype(np.float64))
    return np.asarray(np.clip(values, 0, 255))


@corruption("c-bar", imagenet=(1.0, 2.0, 4.0, 9.0, 10.0), cifar=(1.0, 1.5, 2.5, 4.5, 5.0))
def inverse_sparkles(image: Image.Image, parameter: float, rng: Generator) -> Floats:
    """Draw white over everything but one star, whose rays fade the sooner the higher the severity."""
    side = side_of(image)
    centre, radius = rng.uniform(0.25, 0.75, size=2) * side, 0.25 * side
    generator, rays = seeded(rng), draw_integer(rng, 50, 200)
    lengths = radius + _RAGGED * radius * generator.randn(rays)
    fading = (100 - (100 - strength(parameter, 65))) / 50  # twice from 100, as the published code rounds
    shown = _star(image, centre, lengths, fading)
    return np.clip(WHITE + shown[..., None] * (np.asarray(image, np.float64) - WHITE), 0, 255)


def _star(image: Image.Image, centre: Floats, lengths: Floats, fading: float) -> Floats:
    """Return how much of every pixel is a star's, 0 .. 1, ``(H, W)``.

    Args:
        image: for its size.
        centre: of the star, row and column.
        lengths: of its rays, pixels, counted around the centre.
        fading: power by which light falls with the square of the distance in lengths of the ray.
    """
    down, across = coordinates(image)
    from_centre = down - centre[0], across - centre[1]
    distance = np.sqrt(from_centre[0] ** 2 + from_centre[1] ** 2)
    turned = (np.arctan2(from_centre[1], from_centre[0]) + np.pi) / (2 * np.pi) * len(lengths)
    ray = turned.astype(int)
    between = turned - ray
    first, second = lengths[ray % len(lengths)], lengths[(ray + 1) % len(lengths)]
    light = ((first + between * (second - first)) ** 2 / (distance**2 + 1e-4)) ** fading
    return np.asarray(np.clip((1 - (between - 0.5) ** 2) * light, 0, 1))
