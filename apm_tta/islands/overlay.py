"""Islands to be laid over a photograph: their colours, and their contours on transparent ground, as small PNG files."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

Labels = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_SIDE = 224  # pixels, at least, of contours: of islands on 8 x 8 locations they would be steps otherwise
_PALETTE = [0, 0, 0, 255, 255, 255, 0, 0, 0]  # nothing, a line, and what sets it off from a bright photograph


def enlarged(labels: Labels, times: int) -> Labels:
    """Repeat labels ``(h, w)`` to ``(times * h, times * w)``."""
    repeated: Labels = labels.repeat(times, 0).repeat(times, 1)
    return repeated


def boundary(labels: Labels) -> Mask:
    """Return the places that differ from the one below or to the right, ``(h, w)``."""
    lines = np.zeros(labels.shape, dtype=bool)
    lines[:-1] |= labels[:-1] != labels[1:]
    lines[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return lines


def colours_as_png(picture: npt.NDArray[np.float64]) -> bytes:
    """Encode RGB ``(h, w, 3)`` in 0 .. 1, one pixel a location."""
    pixels = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    return _encoded(Image.fromarray(pixels))


def contours_as_png(labels: Labels) -> bytes:
    """Encode the contours of islands ``(h, w)``: white lines with dark edges, seen on any photograph."""
    from scipy.ndimage import binary_dilation

    lines = boundary(enlarged(labels, max(1, -(-_SIDE // len(labels)))))
    indices = np.where(lines, 1, np.where(binary_dilation(lines, np.ones((3, 3))), 2, 0)).astype(np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(_PALETTE)
    image.info["transparency"] = bytes([0, 255, 140])
    return _encoded(image)


def _encoded(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return content.getvalue()
