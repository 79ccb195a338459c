"""What a file states about its picture besides the pixels."""

from __future__ import annotations

import io

from PIL import ExifTags, Image, TiffImagePlugin

_USUAL_GAMMA = 1 / 2.2
_GAMMA_TOLERANCE = 0.02

_SEEKING = ("GIF", "TIFF")
"""Formats in which Pillow looks for a second frame only when asked, and moves there: not in an image that is in use."""

_BIG = b"\x2b"
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SIGNATURES = (*_TIFF_STARTS, b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51")
_TIFF_SAMPLES = {1: "whole numbers", 2: "signed numbers", 3: "floats", 5: "complex numbers", 6: "complex numbers"}

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


def is_signed_as_known(content: bytes) -> bool:
    """Return whether the first bytes are those of a format that is read, whatever follows."""
    return content.startswith(_SIGNATURES) or content[:4] + content[8:12] == b"RIFFWEBP" or content[4:11] == b"ftypavi"


def tiff_levels(content: bytes) -> str:
    """Describe the levels of a TIFF that Pillow does not open, such as ``3 channels of 32 bits, floats``.

    Empty for what is no TIFF, or one whose tags cannot be read.
    """
    if content[:4] not in _TIFF_STARTS:
        return ""
    try:
        header = content[:16] if content[2:3] == _BIG or content[3:4] == _BIG else content[:8]
        tags = TiffImagePlugin.ImageFileDirectory_v2(header)
        file = io.BytesIO(content)
        file.seek(tags.next)
        tags.load(file)
        bits, kinds = tags[TiffImagePlugin.BITSPERSAMPLE], tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))
        channels = tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)
    except Exception:  # damaged tags can make the parser raise anything
        return ""
    each = "" if len(set(bits)) != 1 else f" of {bits[0]} bits"
    number = "1 channel" if channels == 1 else f"{channels} channels"
    return f"{number}{each}, {_TIFF_SAMPLES.get(kinds[0], 'levels of an unknown kind')}"


def gamma_remarks(image: Image.Image) -> tuple[str, ...]:
    """Remark on a PNG's gamma where it is not the usual one and nothing else states the colours."""
    gamma = image.info.get("gamma")
    stated = "srgb" in image.info or "icc_profile" in image.info
    if stated or not isinstance(gamma, float) or abs(gamma - _USUAL_GAMMA) < _GAMMA_TOLERANCE:
        return ()
    return (GAMMA_IGNORED,)
