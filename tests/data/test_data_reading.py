"""Which rule a data set's files are read by, what is told of it, and that a run records it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apm_tta.data.cards import card_names, load_card
from apm_tta.data.check import check
from apm_tta.data.dataset import Dataset
from apm_tta.data.decoding import PUBLISHED, VIEWER
from apm_tta.data.layouts import LAYOUTS
from apm_tta.data.sample import CLEAN
from apm_tta.data.support_images import SupportImages
from apm_tta.data.unlabelled import all_images, one_image


def lying(path: Path, size: tuple[int, int] = (6, 4)) -> None:
    """Write a photograph that is stored on its side and tagged."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(len(str(path.name))).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(values).save(path, exif=exif)


@pytest.mark.parametrize("name", card_names())
def test_only_folders_of_ones_own_are_read_as_a_viewer_shows(name: str) -> None:
    card = load_card(name)
    assert LAYOUTS.get(card.layout)(card, None).reading == (VIEWER if name == "folder" else PUBLISHED)


def test_support_images_are_read_as_the_tested_ones(tmp_path: Path) -> None:
    synsets = load_card("imagenet-part").class_list.folders
    for name, folders, size in (("folder", ("a", "b"), (4, 6)), ("imagenet-part", synsets, (6, 4))):
        for folder in folders[:2]:
            lying(tmp_path / name / "test" / folder / "0.png")
        for folder in folders:
            lying(tmp_path / name / "train" / folder / "other.png")
        dataset = Dataset(load_card(name), tmp_path / name / "test")
        support = SupportImages(tmp_path / name / "train", dataset, 1)
        image, _ = next(iter(support))
        assert dataset.read(dataset.entries(CLEAN)[0], CLEAN).image.size == image.size == size


def test_unlabelled_images_are_read_as_a_viewer_shows(tmp_path: Path) -> None:
    lying(tmp_path / "a" / "0.jpg")
    assert one_image(str(tmp_path / "a" / "0.jpg")).read().size == (4, 6)
    assert [image.read().size for image in all_images(str(tmp_path))] == [(4, 6)]


def test_a_deep_check_counts_what_is_read_otherwise(tmp_path: Path, trees: Any) -> None:
    made = trees.coop(tmp_path, "dtd")
    first, second, *_ = sorted(made.labels)
    lying(tmp_path / first)
    lying(tmp_path / second)
    assert "2 images: the EXIF orientation is ignored" in check(made.card, tmp_path, deep=True).notes
    mine = tmp_path / "mine"
    for folder in ("a", "b"):
        lying(mine / folder / "0.png")
        Image.new("RGBA", (4, 4), (9, 9, 9, 90)).save(mine / folder / "1.png")
    report = check(load_card("folder"), mine, deep=True)
    assert report.passed
    assert "2 images: transparent pixels are shown on white" in report.notes
    assert not any("orientation" in note for note in report.notes)
