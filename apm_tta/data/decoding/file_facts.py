"""What a file states about its picture besides the pixels."""

from __future__ import annotations

import io

from PIL import ExifTags, Image

_USUAL_GAMMA = 1 / 2.2
_GAMMA_TOLERANCE = 0.02

_SEEKING = ("GIF", "TIFF")
"""Formats in which Pillow looks for a second frame only when asked, and moves there: not in an image that is in use."""

FIRST_FRAME = "only the first of several frames is read"
GAMMA_IGNORED = "the gamma that the file states is ignored"


def orientation(image: Image.Image) -> int:
    """Return the EXIF or XMP orientation, 1 .. 8, of a decoded image; 1 where none can be read.

    Pillow turns a TIFF by itself while it decodes it, and has no orientation left for it afterwards.
    """
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged metadata can make the parser raise anything, and every program shows such a file
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def frame_remarks(image: Image.Image, content: bytes) -> tuple[str, ...]:
    """Remark on further frames or pages of an image that was opened from the bytes ``content``."""
    if image.format not in _SEEKING:
        return (FIRST_FRAME,) if getattr(image, "is_animated", False) else ()
    try:
        with Image.open(io.BytesIO(content), formats=[image.format]) as again:
            several = getattr(again, "is_animated", False)
    except Exception:  # a later frame is damaged
        several = True
    return (FIRST_FRAME,) if several else ()


def gamma_remarks(image: Image.Image) -> tuple[str, ...]:
    """Remark on a PNG's gamma where it is not the usual one and nothing else states the colours."""
    gamma = image.info.get("gamma")
    stated = "srgb" in image.info or "icc_profile" in image.info
    if stated or not isinstance(gamma, float) or abs(gamma - _USUAL_GAMMA) < _GAMMA_TOLERANCE:
        return ()
    return (GAMMA_IGNORED,)
