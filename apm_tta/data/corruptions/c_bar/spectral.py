"""Noise with a given spectrum: brownish, and a mask of blue noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import ifft2

from apm_tta.data.corruptions.apply import Generator, corruption
from apm_tta.data.corruptions.c_bar.square import Floats, add_limited, seeded, side_of, strength


@corruption("c-bar", imagenet=(1.0, 2.0, 3.0, 4.0, 5.0), cifar=(2.5, 4.0, 5.5, 6.5, 7.0))
def brownish_noise(image: Image.Image, parameter: float, rng: Generator) -> Floats:
    r"""Add noise of amplitude :math:`1 / (f^2 + 1)` at frequency f, every channel its own."""
    generator, frequency = seeded(rng), _frequencies(side_of(image))
    noise = [_shaped_noise(1 / (frequency**2 + 1), generator) for _ in range(3)]
    return add_limited(np.asarray(image), strength(parameter, 64) * _cut(np.stack(noise, axis=-1), image))


@corruption("c-bar", imagenet=(0.8, 1.6, 2.4, 4.0, 5.6), cifar=(0.7, 1.4, 2.1, 3.5, 4.2))
def blue_noise_sample(image: Image.Image, parameter: float, rng: Generator) -> NDArray[np.uint8]:
    """Keep only the pixels where blue noise, of an amplitude like the frequency, is above a threshold."""
    noise = _shaped_noise(_frequencies(side_of(image)), seeded(rng))
    return np.asarray(image) * (_cut(noise, image) > strength(parameter, 3.0) - 2.5)[..., None]


def _cut(noise: NDArray[Any], image: Image.Image) -> NDArray[Any]:
    return noise[: image.height, : image.width]


def _frequencies(side: int) -> Floats:
    """Return the distance of every point of a square from its middle, ``(side, side)``."""
    offset = np.arange(side) - side / 2
    return np.asarray(np.sqrt(offset[None] ** 2 + offset[:, None] ** 2))


def _shaped_noise(amplitudes: Floats, generator: np.random.RandomState) -> Floats:
    """Draw noise of standard deviation 1 from the amplitudes of its frequencies, the lowest in the middle.

    Phases of opposite frequencies are drawn equal, as in the published code, not opposite: of the complex noise that
    gives, the real part is taken.
    """
    side = len(amplitudes)
    left = generator.uniform(0, 2 * np.pi, size=(side, side // 2))
    parts = [left, left[::-1, ::-1]]
    if side % 2:
        upper = generator.uniform(0, 2 * np.pi, size=(side // 2, 1))
        parts.insert(1, np.concatenate([upper, np.zeros((1, 1)), upper[::-1]]))
    phases = np.concatenate(parts, axis=1)
    spectrum = np.roll(amplitudes * (np.cos(phases) + np.sin(phases) * 1j), side // 2, axis=(0, 1))
    noise = np.real(ifft2(spectrum))
    return np.asarray(noise / np.std(noise))
