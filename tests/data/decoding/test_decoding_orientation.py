"""One's own photographs are read upright, in every format; published sets are read as published code does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps, features

from apm_tta.data.decoding import PUBLISHED, VIEWER
from apm_tta.data.decoding.published import ORIENTATION_IGNORED

STORED = {  # by orientation: how a camera stores what a viewer shows upright
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}, "JPEG": {"quality": 100}}


def stored(image: Image.Image, orientation: int) -> Image.Image:
    turn = STORED[orientation]
    return image if turn is None else image.transpose(turn)


def tagged(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def differs(one: Image.Image, other: Image.Image) -> bool:
    return one.size != other.size or bool(
        np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).mean() > 6  # JPEG's edges in colour
    )


@pytest.mark.parametrize("kind", [*LOSSLESS, "AVIF"])
@pytest.mark.parametrize("orientation", STORED)
def test_every_orientation_is_shown_upright(
    kind: str, orientation: int, corners: Image.Image, saved: Any, read: Any
) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    content = saved(stored(corners, orientation), kind, exif=tagged(orientation), **LOSSLESS.get(kind, {}))
    assert not differs(read(content, VIEWER).image, corners)
    assert read(content, VIEWER).remarks == ()


@pytest.mark.parametrize("kind", [kind for kind in LOSSLESS if kind != "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_published_sets_are_read_without_it_and_say_so(
    kind: str, orientation: int, corners: Image.Image, saved: Any, read: Any
) -> None:
    content = saved(stored(corners, orientation), kind, exif=tagged(orientation), **LOSSLESS[kind])
    found = read(content, PUBLISHED)
    assert not differs(found.image, stored(corners, orientation))
    assert found.remarks == (() if orientation == 1 else (ORIENTATION_IGNORED,))


def test_a_tiff_is_turned_by_pillow_itself_in_published_code_too(corners: Image.Image, saved: Any, read: Any) -> None:
    content = saved(stored(corners, 6), "TIFF", exif=tagged(6))
    found = read(content, PUBLISHED)
    assert not differs(found.image, corners)
    assert found.remarks == ()


def test_an_orientation_in_xmp_counts_where_there_is_none_in_exif(corners: Image.Image, saved: Any, read: Any) -> None:
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
    content = saved(stored(corners, 8), "JPEG", quality=100, xmp=packet)
    assert not differs(read(content, VIEWER).image, corners)
    assert read(content, PUBLISHED).remarks == (ORIENTATION_IGNORED,)


@pytest.mark.parametrize("exif", [b"Exif\0\0damaged", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + 30 * b"\x01", b""])
def test_damaged_metadata_damages_no_image(exif: bytes, corners: Image.Image, saved: Any, read: Any) -> None:
    content = saved(corners, "JPEG", quality=100, exif=exif)
    for reading in (VIEWER, PUBLISHED):
        assert not differs(read(content, reading).image, corners)


@pytest.mark.parametrize("value", [0, 9, 77])
def test_an_orientation_that_does_not_exist_is_none(value: int, corners: Image.Image, saved: Any, read: Any) -> None:
    content = saved(corners, "JPEG", quality=100, exif=tagged(value))
    assert not differs(read(content, VIEWER).image, corners)
    assert read(content, PUBLISHED).remarks == ()


def test_a_turned_transparent_image_is_composited_and_upright(corners: Image.Image, saved: Any, read: Any) -> None:
    seen = corners.convert("RGBA")
    seen.putalpha(Image.linear_gradient("L").resize(seen.size))
    content = saved(stored(seen, 7), "PNG", exif=tagged(7))
    expected = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    assert np.abs(np.asarray(read(content, VIEWER).image, int) - np.asarray(expected, int)).max() <= 1
    assert ImageOps.exif_transpose(stored(seen, 7)).size != read(content, VIEWER).image.size
