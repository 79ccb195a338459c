"""Changes to hue, saturation and value."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.color import hsv2rgb, rgb2hsv

from apm_tta.data.corruptions.grey_levels import to_grey_levels, to_unit_range

SATURATION, VALUE = 1, 2
# The conversions allocate a dozen arrays of this many pixels: these fit a core's cache, a whole image's do not.
_PIXELS_AT_A_TIME = 4096


def adjust_channel(image: Image.Image, channel: int, factor: float, offset: float) -> NDArray[Any]:
    """Scale one channel by ``factor`` and add ``offset``, channels in 0 .. 1; return grey levels ``(H, W, 3)``."""
    scaled = to_unit_range(image)
    pixels = scaled.reshape(-1, 3)
    for start in range(0, len(pixels), _PIXELS_AT_A_TIME):
        part = pixels[start : start + _PIXELS_AT_A_TIME]
        hsv = rgb2hsv(part)
        hsv[:, channel] = np.clip(hsv[:, channel] * factor + offset, 0, 1)
        part[:] = hsv2rgb(hsv)
    return to_grey_levels(scaled)
