"""How a decoded file becomes RGB: as published code makes it, or as a viewer shows it."""

from __future__ import annotations

from PIL import Image, features

from apm_tta.data.decoding.published import as_published
from apm_tta.data.decoding.reading import PUBLISHED, VIEWER, Reading
from apm_tta.data.decoding.transparency import scale_transparent_level
from apm_tta.data.decoding.undefined import UndefinedPixels
from apm_tta.data.decoding.viewer import as_viewer_shows

__all__ = ["PUBLISHED", "VIEWER", "Reading", "UndefinedPixels", "decoder_versions", "to_rgb"]

_CONVERSIONS = {PUBLISHED: as_published, VIEWER: as_viewer_shows}


def to_rgb(image: Image.Image, reading: Reading) -> tuple[Image.Image, tuple[str, ...]]:
    """Convert an image that Pillow has opened, of any mode, to RGB.

    Args:
        image: opened, decoded or not.
        reading: by whose rules.

    Returns:
        The image, and remarks on what a viewer would show otherwise; see ``ReadImage.remarks``.

    Raises:
        UndefinedPixels: when a viewer could not show it.
        OSError: when it cannot be decoded, as for anything else that Pillow raises.
    """
    scale_transparent_level(image)
    return _CONVERSIONS[reading](image)


def decoder_versions() -> dict[str, str]:
    """Return the versions of the libraries by which Pillow decodes: two builds of one Pillow may differ in them."""
    return {
        "libjpeg": str(features.version_feature("libjpeg_turbo") or features.version_codec("jpg")),
        "libwebp": str(features.version("webp")),
        "libavif": str(features.version("avif")),
        "openjpeg": str(features.version("jpg_2000")),
        "littlecms": str(features.version("littlecms2")),
    }
