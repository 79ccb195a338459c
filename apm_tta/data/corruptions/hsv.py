"""Hue, saturation and value."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.color import hsv2rgb, rgb2hsv

from apm_tta.data.corruptions.grey_levels import levels, unit

SATURATION, VALUE = 1, 2
# The conversions make a dozen arrays of this many pixels: these lie in a core's cache, an image's do not.
_PIXELS_AT_A_TIME = 4096


def with_channel(image: Image.Image, channel: int, factor: float, offset: float) -> NDArray[Any]:
    """Grey levels ``(H, W, 3)``, one channel made ``factor`` times itself plus ``offset``; each is in 0 .. 1."""
    scaled = unit(image)
    pixels = scaled.reshape(-1, 3)
    for start in range(0, len(pixels), _PIXELS_AT_A_TIME):
        part = pixels[start : start + _PIXELS_AT_A_TIME]
        hsv = rgb2hsv(part)
        hsv[:, channel] = np.clip(hsv[:, channel] * factor + offset, 0, 1)
        part[:] = hsv2rgb(hsv)
    return levels(scaled)
