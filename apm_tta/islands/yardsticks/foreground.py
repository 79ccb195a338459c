"""Fashion-MNIST's pictures, whose ground is black: what is in the foreground is known."""

from __future__ import annotations

import numpy as np
from PIL import Image

from apm_tta.islands.overlay import Mask
from apm_tta.islands.yardsticks.composites import SIDE, Composite


def with_foreground(image: Image.Image) -> Composite:
    """Return an image on black ground, enlarged, with its foreground: the largest part, its holes filled."""
    pixels = np.asarray(image.convert("L"))
    mask = largest_part(pixels > 0)
    enlarged = Image.fromarray(mask).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    return Composite(image, np.asarray(enlarged))


def largest_part(mask: Mask) -> Mask:
    """Return the largest connected part of a mask, with its holes filled; nothing where it is empty."""
    from scipy.ndimage import binary_fill_holes, label

    parts, count = label(mask)
    if not count:
        return mask
    largest: Mask = binary_fill_holes(parts == 1 + np.bincount(parts.ravel())[1:].argmax())
    return largest
