"""Colours become sRGB: profiles, print colours, L*a*b*, gamma."""

from __future__ import annotations

import io
import threading
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile

from apm_tta.data.decoding import PUBLISHED, VIEWER, to_rgb
from apm_tta.data.decoding.file_facts import FIRST_FRAME, GAMMA_IGNORED
from apm_tta.data.decoding.profiles import IGNORED, UNREADABLE
from apm_tta.data.image_files import DamagedImage
from apm_tta.data.layouts.images import FORMATS, read_image

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))


def swapped_channels() -> bytes:
    """Return sRGB's profile with the red and the blue primary exchanged."""
    profile = bytearray(SRGB)
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = profile[blue : blue + 4], profile[red : red + 4]
    return bytes(profile)


def values(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.int16)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_profile_is_applied_as_by_a_viewer_and_ignored_by_published_code(kind: str, read: Any, saved: Any) -> None:
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    content = saved(PICTURE, kind, icc_profile=swapped_channels(), **options)
    mine, theirs = read(content, VIEWER), read(content, PUBLISHED)
    assert np.abs(values(mine.image)[..., ::-1] - values(theirs.image)).max() <= 3
    assert mine.remarks == ()
    assert theirs.remarks == (IGNORED,)


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA"])
def test_srgbs_own_profile_changes_no_pixel(mode: str, read: Any, saved: Any) -> None:
    content = saved(PICTURE.convert(mode), "PNG", icc_profile=SRGB)
    found = read(content, VIEWER)
    assert np.array_equal(values(found.image), values(PICTURE.convert(mode).convert("RGB")))
    assert found.remarks == read(content, PUBLISHED).remarks == ()


@pytest.mark.parametrize(
    ("mode", "profile"),
    [
        ("RGB", b"no profile"),
        ("RGB", SRGB[:300]),
        ("CMYK", SRGB),
        ("RGB", LAB),
    ],
    ids=["damaged", "cut off", "of RGB in print colours", "of L*a*b* in RGB"],
)
def test_a_profile_that_cannot_be_applied_is_remarked(mode: str, profile: bytes, read: Any, saved: Any) -> None:
    content = saved(PICTURE.convert(mode), "TIFF", icc_profile=profile)
    found = read(content, VIEWER)
    assert np.array_equal(values(found.image), values(PICTURE.convert(mode).convert("RGB")))
    assert found.remarks == (UNREADABLE,)


def test_a_profile_of_colours_is_applied_to_a_grey_image(read: Any, saved: Any) -> None:
    content = saved(PICTURE.convert("L"), "PNG", icc_profile=SRGB)
    assert read(content, VIEWER).remarks == ()
    assert np.array_equal(values(read(content, VIEWER).image), values(PICTURE.convert("L").convert("RGB")))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
@pytest.mark.parametrize("reading", [VIEWER, PUBLISHED])
def test_print_colours_are_not_inverted(kind: str, reading: Any, read: Any, saved: Any) -> None:
    """JPEG stores them inverted, as Adobe does; TIFF does not."""
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    found = values(read(saved(red, kind), reading).image)
    assert (found[..., 0] > 240).all()
    assert (found[..., 1:] < 20).all()


def test_lab_is_converted_to_srgb(read: Any, saved: Any) -> None:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    content = saved(to_lab.apply(Image.new("RGB", (8, 8), (200, 40, 90))), "TIFF")
    assert np.abs(values(read(content, VIEWER).image) - (200, 40, 90)).max() <= 3


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "YCbCr", "HSV", "CMYK", "RGBX"])
def test_every_other_mode_is_what_pillow_makes_of_it(mode: str) -> None:
    image = PICTURE.convert("CMYK") if mode == "CMYK" else PICTURE.convert(mode)
    shown, remarks = to_rgb(image, VIEWER)
    assert (shown.mode, shown.size, remarks) == ("RGB", PICTURE.size, ())
    assert np.array_equal(values(shown), values(image.convert("RGB")))


def test_an_unusual_gamma_is_remarked(read: Any, saved: Any) -> None:
    plain = saved(PICTURE, "PNG")
    at = plain.index(b"IDAT") - 4

    def with_gamma(level: int) -> bytes:
        import struct
        import zlib

        data = b"gAMA" + struct.pack(">I", level)
        return plain[:at] + struct.pack(">I", 4) + data + struct.pack(">I", zlib.crc32(data)) + plain[at:]

    assert read(with_gamma(45_455), VIEWER).remarks == ()
    for reading in (VIEWER, PUBLISHED):
        assert read(with_gamma(100_000), reading).remarks == (GAMMA_IGNORED,)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "MPO", "AVIF"])
@pytest.mark.parametrize("reading", [VIEWER, PUBLISHED])
def test_the_first_of_several_frames_is_read_and_that_is_said(kind: str, reading: Any, read: Any, saved: Any) -> None:
    Image.init()
    if kind not in Image.SAVE_ALL:
        pytest.skip(f"this Pillow writes no {kind}")
    first, second = Image.new("RGB", (32, 32), (200, 30, 30)), Image.new("RGB", (32, 32), (30, 200, 30))
    several = saved(first, kind, save_all=True, append_images=[second])
    one = read(several, reading)
    assert np.abs(values(one.image) - (200, 30, 30)).max() < 12
    assert one.remarks == (FIRST_FRAME,)
    assert read(saved(first, kind), reading).remarks == ()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "AVIF", "JPEG2000"])
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_what_is_cut_off_is_damaged_in_every_format(kind: str, keep: float, read: Any, saved: Any) -> None:
    noise = Image.fromarray(np.random.default_rng(3).integers(0, 256, (90, 90, 3), dtype=np.uint8))
    whole = saved(noise, kind)
    with pytest.raises(DamagedImage):
        read(whole[: int(keep * len(whole))], VIEWER)


def test_nothing_is_read_where_cut_off_files_would_be_filled_up(
    read: Any, saved: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some programs set this for the whole process."""
    content = saved(PICTURE, "JPEG")
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(DamagedImage, match="LOAD_TRUNCATED_IMAGES is set"):
        read(content, VIEWER)


def test_formats_that_need_other_programs_are_not_read(read: Any, saved: Any) -> None:
    """Encapsulated PostScript would be given to Ghostscript, whatever the file's name."""
    assert "EPS" not in FORMATS
    with pytest.raises(DamagedImage, match=r"unknown format|the file is text"):
        read(saved(PICTURE, "EPS"), VIEWER)


def test_what_pillow_warns_of_is_remarked(read: Any, saved: Any) -> None:
    """Here of EXIF that is cut off."""
    content = saved(PICTURE, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x02\0abc")
    for reading in (VIEWER, PUBLISHED):
        (remark,) = read(content, reading).remarks
        assert remark.startswith("Pillow warns: Corrupt EXIF data.")
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.append(read(saved(PICTURE, "PNG"), VIEWER)))
    thread.start()
    thread.join()
    assert seen[0].remarks == ()


def test_a_file_is_read_once_and_its_digest_is_of_these_bytes(tmp_path: Any, saved: Any) -> None:
    import hashlib

    content = saved(PICTURE, "GIF")
    (tmp_path / "a.gif").write_bytes(content)
    assert read_image(tmp_path / "a.gif", VIEWER).sha256 == hashlib.sha256(content).hexdigest()
    assert io.BytesIO(content).read(3) == b"GIF"
