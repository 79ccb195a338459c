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
from apm_tta.data.layouts import DamagedImage
from apm_tta.data.layouts.images import is_image_name, list_folder, read_image
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
    assert message.endswith("; extract it from the archive again")
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
    except DamagedImage as error:
        message = str(error)
    assert "\n" not in message


def test_each_kind_of_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    assert "(the file is empty)" in reason(path, b"")
    assert "(the file is text)" in reason(path, b"<html>\n\t404 nicht gefunden: \xc3\xa4\n</html>\n")
    assert "(the file is text)" in reason(path, ("ä" * 3000).encode())
    assert "(unknown format)" in reason(path, b"\x00\x01\x02\xff" * 10)
    assert "(truncated? image file is truncated" in reason(path, saved("JPEG")[:900])
    path.unlink()
    with pytest.raises(DamagedImage, match="No such file"):
        read_image(path, PUBLISHED)
    path.symlink_to(path)
    with pytest.raises(DamagedImage, match="its symbolic link is circular"):
        read_image(path, PUBLISHED)


def test_an_image_of_absurdly_many_pixels_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert "too many pixels" in reason(tmp_path / "a.png", saved("PNG"))
    assert "pixels" in reason(tmp_path / "a.png", saved("PNG", size=(40, 40)))
    (tmp_path / "a.png").write_bytes(saved("PNG", size=(40, 25)))
    assert read_image(tmp_path / "a.png", PUBLISHED).image.size == (40, 25)


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
