"""The affine maps behind AugMix's rotations, shears and translations, as Pillow takes them."""

from __future__ import annotations

import math

MOVES = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
"""The operations that move pixels."""

Matrix = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f): the pixel at (x, y) is read at (a x + b y + c, d x + e y + f)."""


def matrix_of(operation: str, value: float, side: int) -> Matrix:
    """Return the map of one of ``MOVES`` on images of ``side`` x ``side`` pixels."""
    if operation == "rotate":
        return _rotation(value, side)
    matrices: dict[str, Matrix] = {
        "shear_x": (1, value, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, value, 1, 0),
        "translate_x": (1, 0, value, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, value),
    }
    return matrices[operation]


def _rotation(degrees: float, side: int) -> Matrix:
    """Return the map of ``Image.rotate``, whose sines are rounded to 15 digits, about the centre."""
    angle, centre = -math.radians(degrees % 360), side / 2
    cosine, sine = round(math.cos(angle), 15), round(math.sin(angle), 15)
    return (
        cosine,
        sine,
        cosine * -centre + sine * -centre + centre,
        -sine,
        cosine,
        -sine * -centre + cosine * -centre + centre,
    )
