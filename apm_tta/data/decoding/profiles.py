"""Colour profiles: from the colours of a file to sRGB."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

try:
    from PIL import ImageCms
except ImportError:  # pragma: no cover  a Pillow that was built without Little CMS
    ImageCms = None  # type: ignore[assignment]

IGNORED = "the colour profile is ignored"
UNREADABLE = "the colour profile cannot be applied and is ignored"
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_SAME = 3
"""Levels of 255: the profiles that are called sRGB differ by up to so many, and no viewer's colours are more exact."""


class UnreadableProfile(ValueError):
    """A colour profile cannot be applied."""


def to_srgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Convert colours to sRGB by the profile that the file has in it, else as ``convert("RGB")`` does.

    A profile that moves no colour by more than 3 of 255 levels is sRGB's own and left alone. The intent is perceptual,
    as in viewers.

    Args:
        image: of any mode without alpha.

    Returns:
        RGB, and a remark where the profile cannot be applied.
    """
    profile = image.info.get("icc_profile")
    if not profile:
        return image.convert("RGB"), ()
    try:
        mode, transform = _transform(bytes(profile))
        source = _in_mode(image, mode)
    except UnreadableProfile:
        return image.convert("RGB"), (UNREADABLE,)
    if transform is None:
        return image.convert("RGB"), ()
    shown = transform.apply(source)
    shown.info.pop("icc_profile", None)
    return shown, ()


def changes_colours(image: Image.Image) -> bool:
    """Return whether a file has a profile by which a viewer shows other colours than ``convert("RGB")`` gives."""
    profile = image.info.get("icc_profile")
    if not profile:
        return False
    try:
        mode, transform = _transform(bytes(profile))
        _in_mode(image, mode)
    except UnreadableProfile:
        return False
    return transform is not None


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Return the image in the mode that the profile is for; colours are never made grey, nor mixed for print.

    Raises:
        UnreadableProfile: when the profile is for another kind of image.
    """
    own = image.mode if image.mode in ("L", "CMYK") else "L" if image.mode == "1" else "RGB"
    if own == mode or (own, mode) == ("L", "RGB"):
        return image.convert(mode)
    raise UnreadableProfile(f"a profile for {mode} in an image of mode {image.mode}")


@lru_cache(maxsize=64)
def _transform(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """Return the mode that a profile is for, and the transform to sRGB; None where that changes nothing.

    Raises:
        UnreadableProfile: when it is damaged, for other colours, or Pillow was built without Little CMS.
    """
    if ImageCms is None:  # pragma: no cover
        raise UnreadableProfile("Pillow was built without Little CMS")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _MODES[source.profile.xcolor_space.strip()]
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        probe = _probe(mode)
        moved = np.abs(np.asarray(transform.apply(probe), np.int16) - np.asarray(probe.convert("RGB"), np.int16))
    except Exception as error:  # a damaged profile can make Little CMS raise anything
        raise UnreadableProfile(str(error)) from None
    return mode, None if moved.max() <= _SAME else transform


def _probe(mode: str) -> Image.Image:
    """Return an image that holds a lattice of all colours of ``mode``."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    axis: NDArray[np.uint8] = np.linspace(0, 255, 16 if mode == "RGB" else 6).astype(np.uint8)
    colours = np.stack(np.meshgrid(*[axis] * len(mode), indexing="ij"), axis=-1).reshape(1, -1, len(mode))
    return Image.frombytes(mode, (colours.shape[1], 1), colours.tobytes())
