"""From a file to the bytes of an image, and what to call it when that, or decoding them, fails."""

from __future__ import annotations

from apm_tta.data.image_files.errors import (
    DamagedImage,
    MissingImage,
    TooLargeImage,
    UnreachableImage,
    UnreadImage,
    UnsupportedImage,
    failed_step,
)
from apm_tta.data.image_files.patience import OutOfReach, Patience

__all__ = [
    "DamagedImage",
    "MissingImage",
    "OutOfReach",
    "Patience",
    "TooLargeImage",
    "UnreachableImage",
    "UnreadImage",
    "UnsupportedImage",
    "failed_step",
]
