"""A corrupted data set is data: every order, object and process yields the same images."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from apm_tta.data.cards import load_card
from apm_tta.data.corruptions import corrupt, corruptions_for, through_jpeg
from apm_tta.data.dataset import Dataset, open_dataset
from apm_tta.data.image_files import DamagedImage
from apm_tta.data.layouts import Entry
from apm_tta.data.sample import CLEAN, Condition
from apm_tta.errors import UnknownName, UserError
from apm_tta.randomness import numpy_generator

NOISE = Condition("gaussian_noise", 3)
EVERY = [Condition(name, severity) for name in corruptions_for("cifar") for severity in (1, 5)]


def pixels(dataset: Dataset, entry: Entry, condition: Condition) -> np.ndarray:
    return np.asarray(dataset.read(entry, condition).image)


@pytest.mark.parametrize("condition", EVERY, ids=str)
def test_an_image_is_the_same_in_any_order_and_for_a_fresh_dataset(condition: Condition) -> None:
    """Whatever the global seeds are, and however often it was read before."""
    one = open_dataset("fashion-mnist", limit=12)
    np.random.seed(1)
    torch.manual_seed(1)
    forward = {entry.id: pixels(one, entry, condition) for entry in one.entries(condition)}
    np.random.seed(2)
    torch.manual_seed(2)
    other = open_dataset("fashion-mnist")
    shuffled = [entry for entry in other.entries(condition) if entry.id in forward]
    random.Random(0).shuffle(shuffled)
    assert len(shuffled) == len(forward) == 12
    for entry in shuffled * 2:
        assert np.array_equal(pixels(other, entry, condition), forward[entry.id])


def test_a_corrupted_image_is_the_clean_one_corrupted_with_its_own_seed() -> None:
    """A corrupted image is defined by seed 0, its id, the condition, and the card's parameters (here CIFAR's)."""
    dataset = open_dataset("fashion-mnist", limit=5)
    for entry in dataset.entries(NOISE):
        clean = pixels(dataset, entry, CLEAN)
        generator = numpy_generator(0, entry.id, "corruption gaussian_noise 3")
        expected = corrupt(clean, "gaussian_noise", 3, rng=generator, parameters="cifar")
        assert np.array_equal(pixels(dataset, entry, NOISE), expected)


def test_the_card_decides_whose_parameters_and_frame_are_used_not_the_size_of_the_image() -> None:
    card = load_card("fashion-mnist")
    for parameters, size in (("cifar", (28, 28)), ("imagenet", (224, 224))):
        dataset = Dataset(card.model_copy(update={"corruption_parameters": parameters}), limit=1)
        entry = dataset.entries(CLEAN)[0]
        framed, _ = dataset.frame.cut(dataset.read(entry, CLEAN).image)
        assert framed.size == size
        expected = corrupt(np.asarray(framed), "contrast", 3, rng=np.random.default_rng(0), parameters=parameters)
        assert np.array_equal(pixels(dataset, entry, Condition("contrast", 3)), expected)


def test_conditions_differ_from_each_other_and_from_clean() -> None:
    """Except saturate 1, which removes colour: these images have none."""
    dataset = open_dataset("fashion-mnist", limit=3)
    for entry in dataset.entries(CLEAN):
        seen = [condition for condition in EVERY if condition != Condition("saturate", 1)]
        images = {pixels(dataset, entry, condition).tobytes() for condition in [CLEAN, *seen]}
        assert len(images) == 1 + len(seen)


def test_two_images_do_not_share_their_noise() -> None:
    """The upper left corner, where every image is black, shows nothing but the noise."""
    dataset = open_dataset("fashion-mnist", limit=4)
    entries = [entry for entry in dataset.entries(CLEAN) if not pixels(dataset, entry, CLEAN)[:3, :3].any()]
    corners = {pixels(dataset, entry, NOISE)[:3, :3].tobytes() for entry in entries}
    assert len(corners) == len(entries) > 1


@pytest.mark.parametrize("limit", [0, 37])
def test_ids_and_labels_are_the_same_under_every_condition(limit: int) -> None:
    dataset = open_dataset("fashion-mnist", limit=limit)
    clean = list(dataset.entries(CLEAN))
    assert len(clean) == (limit or 2000)
    for condition in EVERY:
        assert list(dataset.entries(condition)) == clean


def test_a_limit_is_even_over_classes() -> None:
    entries = open_dataset("fashion-mnist", limit=50).entries(CLEAN)
    assert Counter(entry.label for entry in entries) == dict.fromkeys(range(10), 5)


def test_a_corruption_that_does_not_exist_is_refused_before_anything_is_read() -> None:
    dataset = open_dataset("fashion-mnist")
    for request in (
        lambda: dataset.check_conditions([CLEAN, Condition("fgo", 1)]),
        lambda: dataset.entries(Condition("fgo", 1)),
    ):
        with pytest.raises(UnknownName, match="unknown corruption of fashion-mnist 'fgo'") as caught:
            request()
        assert "; there are: fog, frost, " in str(caught.value)
        assert str(caught.value).endswith("did you mean fog?")


def test_stored_corruptions_are_those_of_the_card() -> None:
    """ImageNet-C has its 19 on disk; a clean set has whatever can be computed."""
    assert open_dataset("fashion-mnist").corruptions == corruptions_for("cifar")
    stored = open_dataset("imagenet-c")
    assert stored.corruptions == list(stored.card.stored_corruptions)
    stored.check_conditions([Condition("fog", 1)])
    with pytest.raises(UnknownName, match="jpeg_compression"):
        stored.check_conditions([Condition("rain", 1)])


def test_the_fingerprint_tells_images_labels_and_conditions_apart() -> None:
    """It is equal for the same selection, and differs for another limit, other conditions or another order."""
    small, same, larger = (open_dataset("fashion-mnist", limit=limit) for limit in (20, 20, 21))
    prints = [
        small.fingerprint([CLEAN]),
        larger.fingerprint([CLEAN]),
        small.fingerprint([NOISE]),
        small.fingerprint([CLEAN, NOISE]),
        small.fingerprint([NOISE, CLEAN]),
    ]
    assert len(set(prints)) == len(prints)
    assert same.fingerprint([CLEAN, NOISE]) == small.fingerprint([CLEAN, NOISE])
    assert all(len(value) == 64 for value in prints)


def test_an_unknown_data_set_is_refused() -> None:
    with pytest.raises(UnknownName, match="fashion-mnist"):
        open_dataset("fashion_mnist")


@pytest.mark.parametrize(
    ("name", "stored", "says"),
    [("imagenet-c", (), "needs stored_corruptions"), ("fashion-mnist", ("fog",), "stores no conditions")],
)
def test_a_card_that_contradicts_its_layout_is_refused(name: str, stored: tuple[str, ...], says: str) -> None:
    """Otherwise images would be corrupted twice, or not at all."""
    card = load_card(name).model_copy(update={"stored_corruptions": stored})
    with pytest.raises(UserError, match=says):
        Dataset(card)


@pytest.mark.parametrize("condition", [CLEAN, NOISE], ids=str)
def test_available_is_the_number_before_the_limit(condition: Condition) -> None:
    dataset = open_dataset("fashion-mnist", limit=20)
    assert dataset.available(condition) == 2000
    assert len(dataset.entries(condition)) == 20


def test_the_source_of_corruptions_is_stated() -> None:
    assert open_dataset("fashion-mnist").corruption_source == "made as read"
    assert open_dataset("imagenet-c").corruption_source == "stored"


def test_a_corrupted_image_passes_through_jpeg_if_requested() -> None:
    """This follows the corruption, as in the released ImageNet-C; clean images skip it."""
    plain, through = open_dataset("fashion-mnist", limit=3), open_dataset("fashion-mnist", limit=3, jpeg_quality=85)
    for entry in plain.entries(NOISE):
        expected = through_jpeg(plain.read(entry, NOISE).image, 85)
        assert np.array_equal(pixels(through, entry, NOISE), np.asarray(expected))
        assert not np.array_equal(pixels(through, entry, NOISE), pixels(plain, entry, NOISE))
        assert np.array_equal(pixels(through, entry, CLEAN), pixels(plain, entry, CLEAN))


@pytest.mark.parametrize("name", ["imagenet-c", "cifar10-c"])
def test_a_jpeg_quality_for_stored_corruptions_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"no effect: the corrupted images of {name} are read as stored") as caught:
        open_dataset(name, jpeg_quality=85)
    assert caught.value.exit_code == 2


def test_a_jpeg_quality_where_nothing_is_corrupted_is_refused() -> None:
    dataset = open_dataset("fashion-mnist", jpeg_quality=85)
    dataset.check_conditions([CLEAN, NOISE])
    with pytest.raises(UserError, match="JPEG quality 85 has no effect: no image is corrupted") as caught:
        dataset.check_conditions([CLEAN])
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("quality", [0, 101, -3])
def test_a_jpeg_quality_that_does_not_exist_is_refused(quality: int) -> None:
    with pytest.raises(UserError, match=f"JPEG quality {quality} does not exist; expected 1 to 100"):
        open_dataset("fashion-mnist", jpeg_quality=quality)


def test_a_damaged_image_is_distinguished_from_a_wrong_tree(tmp_path: Path, trees: Any) -> None:
    """It is one image among others: the run continues without it."""
    made = trees.coop(tmp_path, "dtd")
    dataset = Dataset(made.card, tmp_path)
    entry = dataset.entries(CLEAN)[0]
    (tmp_path / entry.id).write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DamagedImage, match=r"is not a readable image .*; replace it, or extract it"):
        dataset.read(entry, CLEAN)
