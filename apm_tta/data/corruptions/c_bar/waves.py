"""Waves: straight, in rings, and in swirls of colour."""

from __future__ import annotations

import numpy as np
from PIL import Image

from apm_tta.data.corruptions.apply import Generator, corruption
from apm_tta.data.corruptions.c_bar.square import Floats, add_limited, coordinates, side_of, strength
from apm_tta.data.corruptions.draws import draw_integer


@corruption("c-bar", imagenet=(1.0, 1.5, 2.0, 4.5, 5.0), cifar=())
def single_frequency_greyscale(image: Image.Image, parameter: float, rng: Generator) -> Floats:
    """Add a plane wave in grey, of any direction, whose larger frequency is up to half a period a pixel."""
    larger = rng.uniform(-np.pi, np.pi)
    smaller = rng.uniform(-abs(larger), abs(larger))
    across_frequency, down_frequency = np.array([larger, smaller])[rng.permutation(2)]
    phase = rng.uniform(0, 2 * np.pi)
    down, across = coordinates(image)
    wave = np.sin(across * across_frequency + down * down_frequency + phase)
    return add_limited(np.asarray(image), strength(parameter, 196) * wave[..., None])


@corruption("c-bar", imagenet=(3.0, 5.0, 8.0, 9.0, 10.0), cifar=())
def cocentric_sine_waves(image: Image.Image, parameter: float, rng: Generator) -> Floats:
    """Add rings with an edge that is a wave around a drawn centre, each rising from dark to bright."""
    side = side_of(image)
    centre_across, centre_down = rng.uniform(0, side, size=2)
    waves, height, width = rng.uniform(0, 10), rng.uniform(0, side / 10), rng.uniform(0, side / 10)
    down, across = coordinates(image)
    from_centre = across - centre_across, down - centre_down
    edge = np.sin(np.arctan2(*from_centre) * waves) * height
    rings = (np.sqrt(from_centre[0] ** 2 + from_centre[1] ** 2) + edge) % width / width - 1 / 2
    return add_limited(np.asarray(image), strength(parameter, 128) * rings[..., None])


@corruption("c-bar", imagenet=(4.75, 7.0, 8.5, 9.25, 10.0), cifar=())
def plasma_noise(image: Image.Image, parameter: float, rng: Generator) -> Floats:
    """Blend with swirls of colour: each round moves every point by waves of the other coordinate, ever finer."""
    time, rounds = rng.uniform(0.0, 6 * np.pi), draw_integer(rng, 4, 7)
    sharpness, scale = rng.uniform(0.5, 1.0), rng.uniform(0.075, 0.2) * side_of(image)
    down, across = (values / scale for values in coordinates(image))
    frequency, steady, divisor, shift = 1.0, 1.0, 1.0, 0.0
    for _ in range(rounds):
        first = np.cos(down * frequency - shift + time / steady) / divisor
        second = np.sin(across * frequency - shift + time / steady) / divisor
        across, down = across + (first - second * 0.3), down + (second + first * 0.3)
        frequency, steady, divisor, shift = (
            frequency * 1.93,
            steady * 1.15,
            divisor * (2.25 - sharpness),
            shift * (time * steady),
        )
    red, blue = np.sin(across - time), np.sin(down + time)
    green = np.sin((across + down + np.sin(time)) * 0.5)
    share = strength(parameter, 64)
    return add_limited((1 - share / 255) * np.asarray(image), share * np.stack([red, green, blue], axis=-1))
