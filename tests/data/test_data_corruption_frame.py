"""Severities are defined in pixels: every image is brought to the size that they are defined for, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from apm_tta.data.cards import DatasetCard, card_names, load_card
from apm_tta.data.corruptions import corrupt, through_jpeg
from apm_tta.data.corruptions.frame import ENLARGED, AsStored, CentreCrop, WrongSize
from apm_tta.data.dataset import Dataset
from apm_tta.data.image_files import UnsupportedImage
from apm_tta.data.sample import CLEAN, Condition
from apm_tta.randomness import numpy_generator

BLUR = Condition("defocus_blur", 5)


def photograph(size: tuple[int, int]) -> Image.Image:
    rng = np.random.default_rng(4)
    return Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)


def by_hand(image: Image.Image) -> Image.Image:
    """Do what ``make_imagenet_c.py`` does, with Pillow alone."""
    width, height = image.size
    size = (256, int(256 * height / width)) if width <= height else (int(256 * width / height), 256)
    resized = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (round((extent - 224) / 2.0) for extent in resized.size)
    return resized.crop((left, top, left + 224, top + 224))


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (256, 256), (640, 481), (257, 900), (1024, 768)])
def test_a_photograph_is_cropped_as_the_authors_cropped_it(size: tuple[int, int]) -> None:
    crop, remarks = CentreCrop().cut(photograph(size))
    assert np.array_equal(np.asarray(crop), np.asarray(by_hand(photograph(size))))
    assert remarks == ()


def test_a_small_image_is_enlarged_and_that_is_said() -> None:
    crop, remarks = CentreCrop().cut(photograph((40, 30)))
    assert crop.size == (224, 224)
    assert remarks == (ENLARGED,)


def test_an_image_too_narrow_for_any_crop_is_refused() -> None:
    with pytest.raises(WrongSize, match="20000 x 1 pixels, too narrow"):
        CentreCrop().cut(Image.new("RGB", (20_000, 1)))


def test_the_same_picture_is_corrupted_alike_whatever_its_size(tmp_path: Path) -> None:
    for name, factor in (("one", 1), ("two", 2), ("three", 3)):
        (tmp_path / name / "a").mkdir(parents=True)
        (tmp_path / name / "b").mkdir()
        for folder in ("a", "b"):
            photograph((300 * factor, 280 * factor)).save(tmp_path / name / folder / "0.png")
    seen = []
    for name in ("one", "two", "three"):
        dataset = Dataset(load_card("folder"), tmp_path / name)
        entry = dataset.entries(BLUR)[0]
        seen.append(np.asarray(dataset.read(entry, BLUR).image, int))
        assert dataset.read(entry, CLEAN).image.width in (300, 600, 900), "clean images stay as they are"
    assert {values.shape for values in seen} == {(224, 224, 3)}
    assert max(np.abs(seen[0] - other).mean() for other in seen[1:]) < 1.5


def test_a_corrupted_image_is_the_crop_corrupted_and_then_passed_through_jpeg(tmp_path: Path, trees: Any) -> None:
    made = trees.class_folders(tmp_path, "imagenet-part", {"n02123045": 281, "n01440764": 0})
    condition = Condition("fog", 2)
    dataset = Dataset(made.card, tmp_path, jpeg_quality=85)
    entry = dataset.entries(condition)[0]
    photograph((400, 300)).save(tmp_path / entry.id, quality=95)
    with Image.open(tmp_path / entry.id) as image:
        crop = by_hand(image.convert("RGB"))
    generator = numpy_generator(0, entry.id, "corruption fog 2")
    expected = through_jpeg(corrupt(crop, "fog", 2, rng=generator, parameters="imagenet"), 85)
    assert np.array_equal(np.asarray(dataset.read(entry, condition).image), np.asarray(expected))


@pytest.mark.parametrize("name", card_names())
def test_every_card_states_the_size_at_which_its_images_are_corrupted(name: str) -> None:
    card = load_card(name)
    frame = Dataset(card).frame
    if (card.stored_corruptions or card.domains) and card.side is None:
        assert frame is None, "nothing is known of the released images"
        return
    small = {"fashion-mnist": 28, "sklearn-digits": 8}
    expected = card.side or 224
    assert frame is not None
    assert frame.side == expected
    assert f"{expected} x {expected}" in str(frame)
    assert (frame.side in small.values()) == ("the severities are for 32 x 32" in str(frame))


def test_an_image_of_another_size_than_its_card_states_is_not_corrupted_with_cifars_severities() -> None:
    card = load_card("fashion-mnist").model_copy(update={"side": 32})
    dataset = Dataset(card, limit=10)
    entry = dataset.entries(CLEAN)[0]
    assert dataset.read(entry, CLEAN).image.size == (28, 28)
    with pytest.raises(UnsupportedImage, match="cannot be corrupted: it has 28 x 28 pixels, not 32 x 32"):
        dataset.read(entry, BLUR)
    with pytest.raises(WrongSize):
        AsStored(32, 32).cut(Image.new("RGB", (32, 33)))


def test_a_card_with_cifars_severities_has_to_state_a_size() -> None:
    plain = load_card("cifar10").model_dump()
    with pytest.raises(ValidationError, match="side: must be stated"):
        DatasetCard.model_validate({**plain, "side": None})


def test_a_stored_image_of_another_size_than_the_release_is_remarked(tmp_path: Path, trees: Any) -> None:
    made = trees.corruption_tree(tmp_path)
    dataset, condition = Dataset(made.card, tmp_path), Condition("fog", 3)
    small, right = dataset.entries(condition)[:2]
    photograph((224, 224)).save(tmp_path / right.id)
    assert dataset.read(small, condition).remarks == ("not of 224 x 224 pixels, as the release is",)
    assert dataset.read(right, condition).remarks == ()


def test_remarks_on_a_file_and_on_its_crop_stand_together(tmp_path: Path, trees: Any) -> None:
    made = trees.class_folders(tmp_path, "imagenet-part", {"n02123045": 281, "n01440764": 0})
    exif = Image.Exif()
    exif[0x0112] = 3
    dataset = Dataset(made.card, tmp_path)
    entry = dataset.entries(BLUR)[0]
    photograph((90, 80)).save(tmp_path / entry.id, exif=exif)
    assert dataset.read(entry, BLUR).remarks == ("the EXIF orientation is ignored", ENLARGED)
    assert dataset.read(entry, CLEAN).remarks == ("the EXIF orientation is ignored",)
