"""Images without labels: files, ids of carried data sets, folders; anything else is refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apm_tta.data.dataset import open_dataset
from apm_tta.data.sample import CLEAN
from apm_tta.data.unlabelled import all_images, is_collection, one_image, unused_files
from apm_tta.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b/2.png", "b/1.JPEG", "a.jpg", "b/c/3.webp"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4), "red").save(path)
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def test_a_folder_yields_every_image_below_it_in_order(folder: Path) -> None:
    found = all_images(str(folder))
    assert [image.id for image in found] == ["a.jpg", "b/1.JPEG", "b/2.png", "b/c/3.webp"]
    assert all(image.read().size == (6, 4) for image in found)
    assert one_image(str(folder / "b" / "2.png")).id == "2.png"


def test_what_is_not_read_is_named_and_what_this_program_has_written_too(folder: Path) -> None:
    (folder / "b" / "4.heic").touch()
    written = folder / "results" / "islands" / "20261127-064201"
    written.mkdir(parents=True)
    Image.new("RGB", (6, 4)).save(written / "islands.png")
    assert len(all_images(str(folder))) == 4
    own = f"1 in folders that this program has written ({(written / 'islands.png').relative_to(folder)})"
    reasons = f"{own}, 1 with the suffix .txt (notes.txt), 1 with the suffix .heic (b/4.heic)"
    assert unused_files(str(folder)) == f"3 files below {folder} are not used: {reasons}"
    assert unused_files("fashion-mnist") == unused_files(str(folder / "b" / "c")) == ""


def test_a_carried_set_is_named_and_its_images_are_the_data_set_s() -> None:
    assert is_collection("fashion-mnist")
    assert len(all_images("fashion-mnist")) == 2000
    found = one_image("fashion-mnist:test/00003")
    dataset = open_dataset("fashion-mnist")
    (entry,) = [entry for entry in dataset.entries(CLEAN) if entry.id == "test/00003"]
    assert found.id == entry.id
    assert np.array_equal(np.asarray(found.read()), np.asarray(dataset.read(entry, CLEAN).image))


def test_a_missing_image_is_refused_with_a_suggestion(folder: Path) -> None:
    with pytest.raises(UserError, match=r"there is no image file .*nowhere.png; .* fashion-mnist:ID"):
        one_image(str(folder / "nowhere.png"))
    with pytest.raises(UserError, match="is a folder; name one image file"):
        one_image(str(folder))
    with pytest.raises(UserError, match="fashion-mnist has no image 'test/x'; there are: test/00000 and 1999 more"):
        one_image("fashion-mnist:test/x")
    with pytest.raises(UserError, match=r"there is no folder .*; the package carries: fashion-mnist"):
        all_images(str(folder / "nowhere"))
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match="contains no image"):
        all_images(str(folder / "empty"))
    (folder / "b" / "round").symlink_to(folder)
    with pytest.raises(UserError, match="has a circular or broken link, or what is no file: round"):
        all_images(str(folder))


def test_a_damaged_file_is_refused_when_it_is_read(folder: Path) -> None:
    (folder / "broken.png").write_bytes((folder / "b" / "2.png").read_bytes()[:40])
    with pytest.raises(UserError, match=r"broken.png is not a readable image"):
        one_image(str(folder / "broken.png")).read()
