"""Reading as published code does."""

from __future__ import annotations

from PIL import Image

from apm_tta.data.decoding import profiles, transparency
from apm_tta.data.decoding.deep import is_deep
from apm_tta.data.decoding.file_facts import gamma_remarks, orientation
from apm_tta.data.decoding.undefined import UndefinedPixels

ORIENTATION_IGNORED = "the EXIF orientation is ignored"
CUT_OFF = "grey levels above 255 are cut off"


def as_published(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Convert an image as torchvision's loader does, by ``convert("RGB")``; remark on what a viewer would show.

    Numbers in papers were computed on such pixels: a photograph on its side stays there, alpha is dropped, and levels
    of more than 8 bits are cut off at 255.
    """
    image.load()
    rgb = _without_transparency(image).convert("RGB")
    remarks = [
        *((CUT_OFF,) if is_deep(image) else ()),
        *((transparency.DROPPED,) if _has_transparent_pixels(image) else ()),
        *((ORIENTATION_IGNORED,) if orientation(image) != 1 else ()),
        *((profiles.IGNORED,) if profiles.changes_colours(image) else ()),
        *gamma_remarks(image),
    ]
    return rgb, tuple(remarks)


def _has_transparent_pixels(image: Image.Image) -> bool:
    try:
        return transparency.split_alpha(image)[1] is not None
    except UndefinedPixels:
        return True


def _without_transparency(image: Image.Image) -> Image.Image:
    """Return the same pixels without the statement which of them are transparent: Pillow warns that it ignores it."""
    if "transparency" not in image.info:
        return image
    plain = image.copy()
    del plain.info["transparency"]
    return plain
