"""How a teacher wants its pixels, and how it cuts them up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


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


def side(size: int | Sequence[int]) -> int:
    """Return the side of a square, which libraries give as a number or as height and width; pixels."""
    return size if isinstance(size, int) else int(size[0])


def patch_size(encoder: Any) -> int | None:
    """Return the side of the patches of an image tower of open_clip's or timm's, pixels; None where it has none."""
    trunk = getattr(encoder, "trunk", encoder)
    size = getattr(trunk, "patch_size", None) or getattr(getattr(trunk, "patch_embed", None), "patch_size", None)
    return None if size is None else side(size)
