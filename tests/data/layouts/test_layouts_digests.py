"""An image has the digest of exactly the bytes that it was decoded from, whatever its condition."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apm_tta.data.dataset import Dataset, open_dataset
from apm_tta.data.decoding import PUBLISHED
from apm_tta.data.embedded import IMAGES_FILE
from apm_tta.data.layouts.images import read_image
from apm_tta.data.sample import CLEAN, Condition

FOG = Condition("fog", 3)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_the_digest_is_of_the_file_or_of_the_row(miniature: Any) -> None:
    """CIFAR's releases store rows channel by channel; a row of the others is an image as it is displayed."""
    dataset = Dataset(miniature.card, miniature.root)
    condition = FOG if dataset.card.stored_corruptions else dataset.layout.conditions()[0]
    for entry in dataset.entries(condition)[:10]:
        found = dataset.read(entry, condition)
        path = dataset.layout.place / entry.id
        values = np.asarray(found.image)
        row = values.transpose(2, 0, 1) if miniature.card.layout == "cifar" else values
        assert found.sha256 == sha256(path.read_bytes() if path.is_file() else row.tobytes())


def test_a_carried_image_has_the_digest_of_its_grey_row() -> None:
    dataset = open_dataset("fashion-mnist")
    with np.load(IMAGES_FILE, allow_pickle=False) as arrays:
        rows = arrays["images"]
    for row, entry in zip(rows[:20], dataset.entries(CLEAN), strict=False):
        assert dataset.read(entry, CLEAN).sha256 == sha256(row.tobytes())


@pytest.mark.parametrize("name", ["gaussian_noise", "jpeg_compression"])
def test_a_corrupted_image_has_the_digest_of_what_it_was_made_from(name: str) -> None:
    dataset = open_dataset("fashion-mnist", limit=10, jpeg_quality=85)
    for entry in dataset.entries(CLEAN):
        clean, corrupted = dataset.read(entry, CLEAN), dataset.read(entry, Condition(name, 3))
        assert clean.sha256 == corrupted.sha256
        assert clean.image.tobytes() != corrupted.image.tobytes()


def test_equal_pixels_in_other_files_have_other_digests(tmp_path: Path) -> None:
    image = Image.new("RGB", (5, 4), "teal")
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "a.bmp")
    png, bmp = (read_image(tmp_path / name, PUBLISHED) for name in ("a.png", "a.bmp"))
    assert png.image.tobytes() == bmp.image.tobytes()
    assert png.sha256 == sha256((tmp_path / "a.png").read_bytes()) != bmp.sha256
