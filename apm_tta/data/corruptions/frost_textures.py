"""The photographs of frost that the authors of ImageNet-C lay over an image (``frost/LICENSE``)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

FOLDER = Path(__file__).parent / "frost"
# The published code draws one of five, though it lists a sixth; its third file holds the pixels of its second.
FILES = ("frost1.webp", "frost2.webp", "frost2.webp", "frost4.jpg", "frost5.jpg")


@lru_cache(maxsize=len(set(FILES)))
def texture(file: str) -> NDArray[np.uint8]:
    """RGB ``(H, W, 3)``; read once a process, and so not to be written to."""
    with Image.open(FOLDER / file) as image:
        values = np.array(image.convert("RGB"))
    values.setflags(write=False)
    return values


@lru_cache(maxsize=2 * len(set(FILES)))
def resized(file: str, scale: float) -> NDArray[np.uint8]:
    """A texture at ``scale`` times its size."""
    values = np.asarray(cv2.resize(texture(file), None, fx=scale, fy=scale), dtype=np.uint8)
    values.setflags(write=False)
    return values


def texture_for(index: int, height: int, width: int, scale: float) -> NDArray[np.uint8]:
    """The texture of that number, 0 .. 4, at ``scale``, or as much larger as it takes to cover an image and a pixel."""
    rows, columns = texture(FILES[index]).shape[:2]
    return resized(FILES[index], max(scale, (height + 1) / rows, (width + 1) / columns))
