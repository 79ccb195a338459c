"""Grey levels of more than 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apm_tta.data.decoding.undefined import UndefinedPixels

SCALED = "grey levels of more than 8 bits are reduced to 8"
_PHOTOMETRIC, _BITS, _SAMPLE_FORMAT = 262, 258, 339
_WHITE_IS_ZERO, _UNSIGNED = 0, 1


def is_deep(image: Image.Image) -> bool:
    """Return whether the mode is one whose conversion to RGB would be cut off at 255."""
    return image.mode in ("I", "F") or image.mode.startswith("I;")


def to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale the levels of a deep image to 8 bits, mode L.

    Of whole numbers the upper 8 of their bits are kept, as Pillow does for colours of 16 bits; floats have to lie in
    0 .. 1 and are rounded. A TIFF in which 0 is white is inverted.

    Raises:
        UndefinedPixels: for levels without a stated range: signed ones, floats outside 0 .. 1.
    """
    values = np.asarray(image)
    tags: Any = getattr(image, "tag_v2", {})
    levels = _from_floats(values) if image.mode == "F" else _upper_bits(image, values, tags)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        levels = 255 - levels
    return Image.fromarray(levels)


def transparent_level(image: Image.Image) -> Image.Image | None:
    """Return the alpha channel, mode L, of a deep image of which one level is transparent; None for no such level."""
    level = image.info.get("transparency")
    if not isinstance(level, int):
        return None
    return Image.fromarray(np.where(np.asarray(image) == level, 0, 255).astype(np.uint8))


def _upper_bits(image: Image.Image, values: NDArray[Any], tags: Any) -> NDArray[np.uint8]:
    (bits,) = tags.get(_BITS, (16,))
    if image.mode != "I" or image.format in ("PNG", "PPM"):  # the last have up to 16 bits, which Pillow scales to 16
        return np.asarray(values >> (bits - 8), np.uint8)
    if image.format == "TIFF" and bits == 32 and tags.get(_SAMPLE_FORMAT, (1,)) == (_UNSIGNED,):
        return np.asarray(values.astype(np.int32).view(np.uint32) >> 24, np.uint8)
    raise UndefinedPixels("its levels are signed or of 32 bits, and nothing states their range")


def _from_floats(values: NDArray[Any]) -> NDArray[np.uint8]:
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # false for NaN too
        raise UndefinedPixels(f"its levels are floats from {low:g} to {high:g}, outside 0 to 1")
    levels: NDArray[np.uint8] = np.floor(values * 255 + 0.5).astype(np.uint8)
    return levels
