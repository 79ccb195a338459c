"""Levels of more than 8 bits are scaled by a stated rule and never cut off, or refused."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from apm_tta.data.decoding import PUBLISHED, VIEWER
from apm_tta.data.decoding.deep import SCALED
from apm_tta.data.decoding.published import CUT_OFF
from apm_tta.data.image_files import DamagedImage, UnsupportedImage

LEVELS = np.arange(0, 65_536, 255, dtype=np.uint16)[:256].reshape(16, 16)


def tiff(values: np.ndarray, **tags: int) -> bytes:
    """Write an uncompressed TIFF of one strip, little-endian, with the tags of a grey image."""
    height, width = values.shape
    fields = {
        256: width,
        257: height,
        258: values.dtype.itemsize * 8,
        259: 1,
        262: 1,
        273: 0,
        277: 1,
        278: height,
        279: values.nbytes,
        **{int(tag[1:]): value for tag, value in tags.items()},
    }
    start = 8 + 2 + 12 * len(fields) + 4
    fields[273] = start
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in sorted(fields.items()))
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(fields)) + entries + bytes(4) + values.tobytes()


def shown(read: Any, content: bytes) -> np.ndarray:
    found = read(content, VIEWER)
    assert SCALED in found.remarks
    values = np.asarray(found.image)
    assert (values == values[..., :1]).all()
    return values[..., 0]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_sixteen_bits_become_their_upper_eight(kind: str, read: Any, saved: Any) -> None:
    content = saved(Image.fromarray(LEVELS), kind)
    assert np.array_equal(shown(read, content), LEVELS >> 8)


def test_big_endian_tiff_and_twelve_bits(read: Any, saved: Any) -> None:
    big = Image.frombytes("I;16B", (16, 16), LEVELS.astype(">u2").tobytes())
    assert np.array_equal(shown(read, saved(big, "TIFF")), LEVELS >> 8)
    # Two levels of 12 bits in three bytes.
    levels = np.array([[0, 4095, 2048, 16, 255, 256]], np.uint16)
    pairs = levels.reshape(-1, 2)
    packed = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in pairs.tolist())
    content = bytearray(tiff(np.frombuffer(packed, np.uint8)[None], t256=6, t258=12, t279=len(packed)))
    assert np.array_equal(shown(read, bytes(content)), levels >> 4)


def test_a_tiff_in_which_zero_is_white_is_shown_as_a_viewer_shows_it(read: Any) -> None:
    assert np.array_equal(shown(read, tiff(LEVELS, t262=0)), 255 - (LEVELS >> 8))


def test_unsigned_levels_of_32_bits_are_scaled_and_signed_ones_refused(read: Any) -> None:
    levels = np.array([[0, 2**31 - 1, 2**31, 2**32 - 1]], np.uint32)
    assert np.array_equal(shown(read, tiff(levels)), [[0, 127, 128, 255]])
    for content in (tiff(levels.view(np.int32), t339=2), tiff(LEVELS.view(np.int16), t339=2)):
        with pytest.raises(UnsupportedImage, match="cannot be shown: its levels are signed") as caught:
            read(content, VIEWER)
        assert "\n" not in str(caught.value)
        assert "save it with 8 bits per channel" in str(caught.value)


def test_floats_from_0_to_1_are_scaled_and_others_refused(read: Any, saved: Any) -> None:
    values = np.linspace(0, 1, 11, dtype=np.float32)[None]
    assert np.array_equal(shown(read, saved(Image.fromarray(values), "TIFF")), np.floor(values * 255 + 0.5))
    for wrong in (values * 255, values - 0.5, np.where(values > 0.5, np.nan, values).astype(np.float32)):
        with pytest.raises(UnsupportedImage, match=r"its levels are floats from .* outside 0 to 1"):
            read(saved(Image.fromarray(wrong), "TIFF"), VIEWER)


def test_the_same_picture_is_read_alike_in_grey_and_in_colour_of_16_bits(read: Any, saved: Any) -> None:
    colours = b"P6 16 16 65535\n" + np.repeat(LEVELS[..., None], 3, 2).astype(">u2").tobytes()
    grey = shown(read, saved(Image.fromarray(LEVELS), "PNG"))
    assert np.abs(np.asarray(read(colours, VIEWER).image, int)[..., 0] - grey).max() <= 1
    eight = read(saved(Image.fromarray((LEVELS >> 8).astype(np.uint8)), "PNG"), VIEWER)
    assert np.array_equal(grey, np.asarray(eight.image)[..., 0])
    assert eight.remarks == ()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_published_code_cuts_them_off_and_that_is_said(kind: str, read: Any, saved: Any) -> None:
    found = read(saved(Image.fromarray(LEVELS), kind), PUBLISHED)
    assert np.array_equal(np.asarray(found.image)[..., 0], LEVELS.clip(0, 255))
    assert found.remarks == (CUT_OFF,)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_fewer_bits_fill_the_range(bits: int, read: Any) -> None:
    """PGM states its highest level, PBM has two."""
    top = 2**bits - 1
    rows = b"P5 4 1 %d\n" % top + bytes([0, top, top // 2, top])
    assert read(rows, VIEWER).image.getpixel((1, 0)) == (255, 255, 255)
    assert read(b"P4 8 1\n\x55", VIEWER).image.getpixel((0, 0)) == (255, 255, 255)


def test_the_reader_knows_the_tags_that_pillow_knows() -> None:
    assert (TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, TiffImagePlugin.BITSPERSAMPLE) == (262, 258)
    assert TiffImagePlugin.SAMPLEFORMAT == 339


@pytest.mark.parametrize(
    ("values", "samples", "levels"),
    [
        (np.zeros((4, 4), np.float64), 3, "1 channel of 64 bits, floats"),
        (np.zeros((4, 4), np.float16), 3, "1 channel of 16 bits, floats"),
        (np.zeros((4, 4), np.uint64), 1, "1 channel of 64 bits, whole numbers"),
    ],
)
def test_a_valid_tiff_of_levels_that_are_not_read_is_named_as_such(
    values: np.ndarray, samples: int, levels: str, read: Any
) -> None:
    for reading in (PUBLISHED, VIEWER):
        with pytest.raises(UnsupportedImage, match=f"a TIFF with {levels} is not supported; save it with 8 bits"):
            read(tiff(values, _339=samples), reading)
    with pytest.raises(DamagedImage, match="only its first bytes are an image's"):
        read(tiff(values, _339=samples)[:60], VIEWER)


def test_a_colour_tiff_of_floats_is_named_as_such(read: Any) -> None:
    # Three equal values of a tag do not fit beside it, and lie behind the pixels.
    values = np.zeros((4, 12), np.float32)
    content = bytearray(tiff(values, _256=4, _262=2, _277=3, _339=3))
    for tag, number in ((258, 32), (339, 3)):
        start = content.index(struct.pack("<HHI", tag, 3, 1))
        content[start : start + 12] = struct.pack("<HHII", tag, 3, 3, len(content))
        content += struct.pack("<3H", number, number, number)
    with pytest.raises(UnsupportedImage, match="3 channels of 32 bits, floats is not supported"):
        read(bytes(content), VIEWER)
