"""Which files are images, judged by their names."""

from __future__ import annotations

import os

from PIL import features

_OPTIONAL = {"avif": (".avif",), "jpg_2000": (".jp2", ".j2k"), "webp": (".webp",)}
SUFFIXES = frozenset(
    {".jpeg", ".jpg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".gif"}
    | {suffix for library, suffixes in _OPTIONAL.items() if features.check(library) for suffix in suffixes}
)
"""What the name of an image ends in, where this Pillow can read it."""


def is_image_name(name: str) -> bool:
    """Return whether the suffix is that of an image, in upper or lower case."""
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122  creating one Path per file would dominate
