"""A teacher's preprocessing of pixels, and the size of its patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Preprocessing:
    """The part of a teacher's evaluation transform that augmented views need.

    Attributes:
        size: side of the square input, pixels.
        mean: per channel, subtracted from values in 0 .. 1.
        std: per channel, by which they are then divided.
        interpolation: used for resizing: ``bicubic``, ``bilinear`` or another of torchvision's ``InterpolationMode``.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str


def side(size: int | Sequence[int]) -> int:
    """Return the side of a square in pixels, which libraries state as one number or as height and width."""
    return size if isinstance(size, int) else int(size[0])


def patch_size(encoder: Any) -> int | None:
    """Return the patch side of an image tower from open_clip or timm, in pixels; None where it has no patches."""
    trunk = getattr(encoder, "trunk", encoder)
    size = getattr(trunk, "patch_size", None) or getattr(getattr(trunk, "patch_embed", None), "patch_size", None)
    return None if size is None else side(size)
