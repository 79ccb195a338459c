"""Files that look alike on white are read alike, whatever colour lies below full transparency."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from apm_tta.data.decoding import PUBLISHED, VIEWER, to_rgb
from apm_tta.data.decoding.transparency import DROPPED, ON_WHITE
from apm_tta.data.image_files import UnsupportedImage

SIDE = 12


def rgba(hidden: int, faint: bool = True) -> np.ndarray:
    """Make an image of which the left half is transparent, with ``hidden`` below, and one row half transparent."""
    values = np.zeros((SIDE, SIDE, 4), np.uint8)
    values[..., :3] = np.arange(SIDE, dtype=np.uint8)[:, None] * 20
    values[..., 3] = 255
    values[:, : SIDE // 2] = (hidden, hidden // 2, hidden // 3, 0)
    if faint:
        values[3, SIDE // 2 :, 3] = 128
    return values


def palette(hidden: int, transparency: Any) -> bytes:
    """Make a PNG with a palette, whose colour 0 is transparent."""
    image = Image.fromarray((np.arange(SIDE * SIDE) % 4).astype(np.uint8).reshape(SIDE, SIDE), "P")
    image.putpalette([hidden, hidden, 0, 10, 20, 30, 200, 100, 50, 9, 9, 9])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=transparency)
    return buffer.getvalue()


def grey_level(hidden: int) -> bytes:
    values = np.full((SIDE, SIDE), 77, np.uint8)
    values[:, :4] = hidden
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG", transparency=hidden)
    return buffer.getvalue()


def png(head: bytes, transparency: bytes, rows: bytes) -> bytes:
    """Make a PNG of its header, its transparent level or colour, and its rows before they are compressed."""
    parts = [(b"IHDR", head), (b"tRNS", transparency), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = [(struct.pack(">I", len(data)), name + data) for name, data in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        length + body + struct.pack(">I", zlib.crc32(body)) for length, body in chunks
    )


def one_colour(hidden: int) -> bytes:
    values = np.full((SIDE, SIDE, 3), 77, np.uint8)
    values[:, :4] = (hidden, 3, 4)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG", transparency=(hidden, 3, 4))
    return buffer.getvalue()


def deep_level(hidden: int) -> bytes:
    values = np.full((SIDE, SIDE), 40_000, np.uint16)
    values[:, :4] = 257 * hidden + 1
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG", transparency=257 * hidden + 1)
    return buffer.getvalue()


def in_format(kind: str, mode: str = "RGBA", **options: Any) -> Callable[[int], bytes]:
    def make(hidden: int) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(rgba(hidden)).convert(mode).save(buffer, kind, **options)
        return buffer.getvalue()

    return make


FORMS: dict[str, Callable[[int], bytes]] = {
    "PNG": in_format("PNG"),
    "PNG of grey and alpha": in_format("PNG", "LA"),
    "WebP": in_format("WEBP", lossless=True, exact=True),
    "TIFF": in_format("TIFF"),
    "TIFF of grey and alpha": in_format("TIFF", "LA"),
    "PNG with one transparent entry": lambda hidden: palette(hidden, 0),
    "PNG with alpha in its palette": lambda hidden: palette(hidden, bytes([0, 255, 120, 255])),
    "PNG with a transparent grey": grey_level,
    "PNG with a transparent colour": one_colour,
    "PNG with a transparent grey of 16 bits": deep_level,
}


@pytest.mark.parametrize("form", FORMS)
def test_what_cannot_be_seen_does_not_count(form: str, read: Any) -> None:
    """In a file of one's own."""
    one, other = read(FORMS[form](0), VIEWER), read(FORMS[form](190), VIEWER)
    assert np.array_equal(np.asarray(one.image), np.asarray(other.image))
    assert (np.asarray(one.image) == 255).all(axis=-1).any(), "white shows through"
    assert ON_WHITE in one.remarks


@pytest.mark.parametrize("form", FORMS)
def test_published_code_drops_it_and_that_is_said(form: str, read: Any) -> None:
    content = FORMS[form](190)
    found = read(content, PUBLISHED)
    with Image.open(io.BytesIO(content)) as image:
        image.info.pop("transparency", None)  # else Pillow warns
        assert np.array_equal(np.asarray(found.image), np.asarray(image.convert("RGB")))
    assert DROPPED in found.remarks


@pytest.mark.parametrize("mode", ["RGBA", "RGBa", "LA", "La", "PA"])
def test_every_mode_of_pillow_is_composited(mode: str) -> None:
    """Premultiplied alpha too."""
    image = Image.fromarray(rgba(50))
    expected = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if mode in ("LA", "La"):
        image = image.convert("LA")
        expected = image.convert("RGBA")
        expected = Image.alpha_composite(Image.new("RGBA", image.size, "white"), expected).convert("RGB")
    if mode == "PA":
        image = Image.fromarray(rgba(50, faint=False))
        expected = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    shown, remarks = to_rgb(image.convert(mode), VIEWER)
    assert remarks == (ON_WHITE,)
    limit = 26 if mode == "PA" else 2  # a palette has few colours, premultiplied alpha fewer levels
    assert np.abs(np.asarray(shown, int) - np.asarray(expected, int)).max() <= limit


@pytest.mark.parametrize("reading", [VIEWER, PUBLISHED])
def test_an_alpha_channel_that_hides_nothing_changes_nothing(reading: Any, read: Any) -> None:
    values = rgba(0)
    values[..., 3] = 255
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    found = read(buffer.getvalue(), reading)
    assert np.array_equal(np.asarray(found.image), values[..., :3])
    assert found.remarks == ()


def test_an_image_of_which_nothing_can_be_seen_is_refused(read: Any) -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (5, 5), (9, 9, 9, 0)).save(buffer, "PNG")
    with pytest.raises(UnsupportedImage, match="cannot be shown: every pixel is transparent"):
        read(buffer.getvalue(), VIEWER)
    assert read(buffer.getvalue(), PUBLISHED).image.getpixel((0, 0)) == (9, 9, 9)


@pytest.mark.parametrize(("bits", "level"), [(1, 0), (1, 1), (2, 1), (2, 3), (4, 1), (4, 2), (4, 15)])
def test_a_transparent_level_of_few_bits_is_scaled_like_the_pixels(bits: int, level: int, read: Any) -> None:
    values = np.arange(64).reshape(8, 8) % 2**bits
    packed = np.packbits((values[..., None] >> np.arange(bits - 1, -1, -1)) & 1, axis=None).reshape(8, bits)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    content = png(struct.pack(">IIBBBBB", 8, 8, bits, 0, 0, 0, 0), struct.pack(">H", level), rows)
    shown = read(content, VIEWER)
    grey = values * 255 // (2**bits - 1)
    assert (np.asarray(shown.image)[..., 0] == np.where(values == level, 255, grey)).all()
    assert shown.remarks == (ON_WHITE,)
    published = read(content, PUBLISHED)
    assert (np.asarray(published.image)[..., 0] == grey).all()
    assert published.remarks == (DROPPED,)
    with Image.open(io.BytesIO(content)) as image:
        assert to_rgb(image, VIEWER)[0].tobytes() == shown.image.tobytes()
        assert to_rgb(image, VIEWER)[0].tobytes() == shown.image.tobytes(), "once is enough"


def test_one_transparent_colour_of_16_bits_is_refused(read: Any) -> None:
    """Pillow keeps 8 bits of the pixels and 16 of the transparent colour: it would take another colour for it."""
    rows = b"".join(b"\0" + struct.pack(">6H", 256, 0, 0, 40_000, 1, 2) for _ in range(2))
    content = png(struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0), struct.pack(">3H", 256, 0, 0), rows)
    with pytest.raises(UnsupportedImage, match="one colour of 16 bits is transparent"):
        read(content, VIEWER)
    assert read(content, PUBLISHED).remarks == (DROPPED,)


def test_an_avif_is_composited_too(read: Any, saved: Any) -> None:
    if not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    content = saved(Image.fromarray(rgba(0)), "AVIF", quality=100, subsampling="4:4:4")
    assert np.asarray(read(content, VIEWER).image)[:, :5].min() > 250
