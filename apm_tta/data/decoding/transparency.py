"""Transparent pixels, in whichever of Pillow's forms a file has them."""

from __future__ import annotations

from PIL import Image

from apm_tta.data.decoding.deep import is_deep, transparent_level
from apm_tta.data.decoding.undefined import UndefinedPixels

_HIGHEST_LEVELS = {"1": 1, "L;2": 3, "L;4": 15}
"""By Pillow's name of how the pixels of a PNG are packed."""

GROUND = (255, 255, 255)
"""What shows through in a viewer: white, the colour of a page."""

DROPPED = "transparency is ignored"
ON_WHITE = "transparent pixels are shown on white"


def split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Split a decoded image into its colours, in a mode without alpha, and its alpha channel.

    Args:
        image: of any mode.

    Returns:
        Colours, not multiplied by alpha, with the ``info`` of the image; and alpha, mode L, or None where every pixel
        is opaque. A deep image remains deep.

    Raises:
        UndefinedPixels: for a transparent colour of 16 bits, of which Pillow keeps 8.
    """
    if not image.has_transparency_data:
        return image, None
    colours, alpha = _split_deep(image) if is_deep(image) else _split(image)
    return colours, None if alpha is None or alpha.getextrema() == (255, 255) else alpha


def scale_transparent_level(image: Image.Image) -> None:
    """Scale the transparent level of a grey PNG of fewer than 8 bits, in ``info``, as Pillow scales its pixels.

    Args:
        image: opened and not yet decoded, when it still has the number of bits; of other images nothing changes.
    """
    level, tiles = image.info.get("transparency"), getattr(image, "tile", ())
    if image.format != "PNG" or image.mode not in ("1", "L") or not isinstance(level, int) or not tiles:
        return
    highest = _HIGHEST_LEVELS.get(tiles[0].args, 255)
    image.info["transparency"] = (level & highest) * 255 // highest


def on_ground(image: Image.Image, alpha: Image.Image) -> Image.Image:
    """Lay an RGB image over ``GROUND``.

    Raises:
        UndefinedPixels: when no pixel of it would be seen.
    """
    if alpha.getextrema() == (0, 0):
        raise UndefinedPixels("every pixel is transparent")
    ground = Image.new("RGB", image.size, GROUND)
    return Image.composite(image, ground, alpha)


def _split_deep(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    return image, transparent_level(image)


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    level = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(level, tuple) and max(level) > 255:
        raise UndefinedPixels("one colour of 16 bits is transparent, of which 8 bits are read")
    grey = image.mode in ("1", "L", "LA", "La")
    colour_mode, alpha_mode = ("L", "LA") if grey else ("RGB", "RGBA")
    with_alpha = image if image.mode == alpha_mode else image.convert(alpha_mode)
    colours = with_alpha.convert(colour_mode)
    colours.info.pop("transparency", None)
    return colours, with_alpha.getchannel("A")
