"""Reading as a viewer shows."""

from __future__ import annotations

from PIL import Image

from apm_tta.data.decoding.deep import SCALED, is_deep, to_eight_bits
from apm_tta.data.decoding.file_facts import gamma_remarks, orientation
from apm_tta.data.decoding.profiles import to_srgb
from apm_tta.data.decoding.transparency import ON_WHITE, on_ground, split_alpha

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def as_viewer_shows(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Convert an image as a viewer shows it: upright, in sRGB, on white, all of its levels.

    Raises:
        UndefinedPixels: when nothing says how bright its pixels are, or none of them would be seen.
    """
    image.load()
    remarks = gamma_remarks(image)
    colours, alpha = split_alpha(image)
    if is_deep(colours):
        profile = image.info.get("icc_profile")
        colours = to_eight_bits(colours)
        colours.info["icc_profile"] = profile
        remarks += (SCALED,)
    rgb, about_profile = to_srgb(colours)
    remarks += about_profile
    if alpha is not None:
        rgb = on_ground(rgb, alpha)
        remarks += (ON_WHITE,)
    return _upright(rgb, orientation(image)), remarks


def _upright(image: Image.Image, found: int) -> Image.Image:
    """Turn and mirror an image as an EXIF orientation, 1 .. 8, states."""
    return image.transpose(_TURNS[found]) if found in _TURNS else image
