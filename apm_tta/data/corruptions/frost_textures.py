"""The photographs of frost that ImageNet-C's authors overlay on an image (see ``frost/LICENSE``)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

FOLDER = Path(__file__).parent / "frost"
# The published code draws one of five files, although it lists a sixth; its third file has the pixels of its second.
FILES = ("frost1.webp", "frost2.webp", "frost2.webp", "frost4.jpg", "frost5.jpg")


@lru_cache(maxsize=len(set(FILES)))
def load_texture(file: str) -> NDArray[np.uint8]:
    """Read a texture, RGB ``(H, W, 3)``; it is read once per process and therefore read-only."""
    with Image.open(FOLDER / file) as image:
        values = np.array(image.convert("RGB"))
    values.setflags(write=False)
    return values


@lru_cache(maxsize=2 * len(set(FILES)))
def load_resized_texture(file: str, scale: float) -> NDArray[np.uint8]:
    """Resize a texture to ``scale`` times its size; the result is read-only."""
    values = np.asarray(cv2.resize(load_texture(file), None, fx=scale, fy=scale), dtype=np.uint8)
    values.setflags(write=False)
    return values


def covering_texture(index: int, height: int, width: int, scale: float) -> NDArray[np.uint8]:
    """Return texture ``index``, 0 .. 4, at ``scale`` or larger, so that it exceeds the image by at least one pixel."""
    rows, columns = load_texture(FILES[index]).shape[:2]
    return load_resized_texture(FILES[index], max(scale, (height + 1) / rows, (width + 1) / columns))
