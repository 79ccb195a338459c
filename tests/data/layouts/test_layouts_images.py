"""Image files are recognised, damaged ones are refused, and no folder is walked in circles."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from apm_tta.data.decoding import PUBLISHED
from apm_tta.data.files import list_folder
from apm_tta.data.image_files import DamagedImage, MissingImage, TooLargeImage, UnreadImage, UnsupportedImage
from apm_tta.data.image_files.names import is_image_name
from apm_tta.data.layouts.images import read_image
from apm_tta.errors import UserError
from apm_tta.wording import first_few


def saved(kind: str, mode: str = "RGB", size: tuple[int, int] = (60, 40), **options: Any) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def reason(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(DamagedImage) as caught:
        read_image(path, PUBLISHED)
    message = str(caught.value)
    assert message.startswith(f"{path} is not a readable image (")
    assert message.endswith("; replace it, or extract it from its archive again")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("kind", "mode"), [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "P"), ("PNG", "RGBA"), ("BMP", "RGB")]
)
def test_every_kind_of_image_is_read_as_rgb(kind: str, mode: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(saved(kind, mode))
    image = read_image(tmp_path / "a", PUBLISHED).image
    assert (image.mode, image.size) == ("RGB", (60, 40))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@given(keep=st.floats(0.02, 0.97))
def test_an_image_that_is_cut_short_anywhere_is_damaged(kind: str, keep: float, tmp_path_factory: Any) -> None:
    """Pillow's own switch for truncated images stays off."""
    whole = saved(kind)
    path = tmp_path_factory.getbasetemp() / f"cut.{kind}"
    reason(path, whole[: int(keep * len(whole))])


@given(content=st.binary(max_size=300))
def test_any_bytes_are_an_image_or_a_damaged_one(content: bytes, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.jpg"
    path.write_bytes(content)
    message = ""
    try:
        read_image(path, PUBLISHED)
    except UnreadImage as error:
        message = str(error)
    assert "\n" not in message


def test_each_kind_of_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    assert "(the file is empty)" in reason(path, b"")
    assert "(the file is text)" in reason(path, b"<html>\n\t404 nicht gefunden: \xc3\xa4\n</html>\n")
    assert "(the file is text)" in reason(path, ("ä" * 3000).encode())
    assert "(truncated? image file is truncated" in reason(path, saved("JPEG")[:900])


def test_a_format_that_is_not_read_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\x00\x01\x02\xff" * 10)
    with pytest.raises(UnsupportedImage, match=r"a\.jpg is in an unknown format; convert it to PNG, or replace it"):
        read_image(tmp_path / "a.jpg", PUBLISHED)


def test_what_is_gone_or_no_file_is_missing(tmp_path: Path) -> None:
    """A pipe would be waited for, for ever."""
    path = tmp_path / "a.jpg"
    with pytest.raises(MissingImage, match=r"a\.jpg is missing \(No such file"):
        read_image(path, PUBLISHED)
    path.symlink_to(path)
    with pytest.raises(MissingImage, match="its symbolic link is circular"):
        read_image(path, PUBLISHED)
    path.unlink()
    path.mkdir()
    with pytest.raises(MissingImage, match=r"Is a directory|a folder is in its place"):
        read_image(path, PUBLISHED)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(MissingImage, match="something that is no file is in its place"):
        read_image(path, PUBLISHED)


def test_an_image_of_too_many_pixels_is_not_decoded_and_the_limit_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own, or those that it has once its short side is enlarged; Pillow's limit of 89 megapixels is not ours."""
    before = Image.MAX_IMAGE_PIXELS
    path = tmp_path / "a.png"
    path.write_bytes(saved("PNG", "1", size=(60000, 1)))
    with pytest.raises(
        TooLargeImage, match=r"60,000 x 1 pixels, .* 15,729 megapixels, more than 250\); make it smaller, or set APM"
    ):
        read_image(path, PUBLISHED)
    path.write_bytes(saved("PNG", size=(60, 40)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert read_image(path, PUBLISHED).image.size == (60, 40)
    assert Image.MAX_IMAGE_PIXELS == 1000, "other programs' limit is left as it is"
    monkeypatch.undo()
    monkeypatch.setenv("APM_TTA_MAX_MEGAPIXELS", "0.4")
    assert read_image(path, PUBLISHED).image.size == (60, 40)
    path.write_bytes(saved("PNG", size=(1000, 500)))
    with pytest.raises(TooLargeImage, match=r"1,000 x 500 pixels are 0\.5 megapixels, more than 0\.4\)"):
        read_image(path, PUBLISHED)
    assert before == Image.MAX_IMAGE_PIXELS
    monkeypatch.setenv("APM_TTA_MAX_MEGAPIXELS", "many")
    with pytest.raises(UserError, match="APM_TTA_MAX_MEGAPIXELS='many' is no number of megapixels; such as 1000"):
        read_image(path, PUBLISHED)


def test_a_listing_is_sorted_and_leaves_hidden_files_out(tmp_path: Path) -> None:
    for name in ("b.jpg", "A.JPEG", "._b.jpg", ".DS_Store", "notes.txt"):
        (tmp_path / name).touch()
    for name in ("two", "one", ".git"):
        (tmp_path / name).mkdir()
    (tmp_path / "up").symlink_to("..", target_is_directory=True)
    (tmp_path / "here").symlink_to(".", target_is_directory=True)
    (tmp_path / "sideways").symlink_to("one", target_is_directory=True)
    folders, files, bad_links = list_folder(tmp_path)
    assert folders == ["one", "sideways", "two"]
    assert files == ["A.JPEG", "b.jpg", "notes.txt"]
    assert bad_links == ["here", "up"]


def test_what_is_no_file_is_never_opened(tmp_path: Path) -> None:
    """A pipe under an image's name would be read for ever."""
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    assert list_folder(tmp_path) == ([], [], ["a.png", "b.png"])


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere cannot be read: No such file"):
        list_folder(tmp_path / "nowhere")


def test_names_of_images_are_recognised_in_upper_case_too() -> None:
    assert all(map(is_image_name, ["a.jpg", "a.JPEG", "a.b.Png", "a.webp"]))
    assert not any(map(is_image_name, ["a.txt", "jpg", "a.jpg.part", "classes"]))


def test_the_first_few_names_are_shown() -> None:
    assert first_few([]) == "none"
    assert first_few(["a", "b", "c"]) == "a, b, c"
    assert first_few(["a", "b", "c", "d"]) == "a, b, c and 1 more"
