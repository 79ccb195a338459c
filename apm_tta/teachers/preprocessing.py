"""How a teacher wants its pixels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preprocessing:
    """What an augmented view needs to know of a teacher's evaluation transform.

    Attributes:
        size: side of the square input, pixels.
        mean: of each channel, subtracted from values in 0 .. 1.
        std: of each channel, what they are then divided by.
        interpolation: of resizing: ``bicubic``, ``bilinear`` or another of torchvision's ``InterpolationMode``.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
