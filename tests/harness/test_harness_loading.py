"""Loading returns the same images from any number of processes, and names those that it could not read."""

from __future__ import annotations

import itertools
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from apm_tta.data.cards import load_card
from apm_tta.data.dataset import Dataset, open_dataset
from apm_tta.data.sample import CLEAN, Condition
from apm_tta.harness.compute.loading import Loaded, Loader, Place, default_workers, load
from apm_tta.methods.shared_values import evaluation_crops
from apm_tta.teachers import Teacher
from apm_tta.teachers.evaluation_crop import normalized

NOISE = Condition("gaussian_noise", 5)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return open_dataset("fashion-mnist", limit=20)


@pytest.fixture(scope="module")
def places(dataset: Dataset) -> list[Place]:
    return [(NOISE, entry) for entry in dataset.entries(NOISE)]


def images(loaded: list[Loaded]) -> list[np.ndarray]:
    return [np.asarray(image) for image in itertools.chain.from_iterable(each.images for each in loaded)]


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("batch_size", [6, 64])
def test_images_come_in_order_from_any_number_of_processes(
    dataset: Dataset, places: list[Place], workers: int, batch_size: int, embedded_teacher: Teacher
) -> None:
    wanted = [evaluation_crops(embedded_teacher)]
    loaded = list(load(dataset, places, batch_size, wanted, workers))
    assert [len(each.images) for each in loaded] == ([6, 6, 6, 2] if batch_size == 6 else [20])
    assert [place for each in loaded for place in each.places] == places
    for image, (condition, entry) in zip(images(loaded), places, strict=True):
        assert np.array_equal(image, np.asarray(dataset.read(entry, condition).image))
    crops = torch.cat([crops for each in loaded for crops, _ in each.prepared])
    expected = torch.stack([embedded_teacher.preprocess(dataset.read(entry, NOISE).image) for _, entry in places])
    assert crops.dtype == torch.uint8
    assert torch.equal(normalized(crops, embedded_teacher.preprocessing), expected)
    assert all(milliseconds > 0 for each in loaded for _, milliseconds in each.prepared)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_follows_is_loaded_behind_what_is_asked_for(
    dataset: Dataset, places: list[Place], workers: int, embedded_teacher: Teacher
) -> None:
    """Whether it is then asked for, or something else, or what was asked for is not wanted to its end."""
    wanted = [evaluation_crops(embedded_teacher)]
    clean = [(CLEAN, entry) for _, entry in places]
    with closing(Loader(dataset, wanted, workers)) as loader:

        def of(asked: list[Place], size: int, following: list[Place]) -> list[Place]:
            loaded = loader.load(asked, size, wanted, (following, size, wanted))
            return [place for each in loaded for place in each.places]

        assert of(places, 6, clean) == places
        assert of(clean, 6, places) == clean
        assert of(clean, 6, places) == clean  # not what was announced
        assert of(places, 7, clean) == places  # in other batches than announced
        begun = loader.load(clean, 5, wanted)
        assert next(begun).places == clean[:5]
        begun.close()
        assert of(places, 6, clean) == places


def test_nothing_is_prepared_unless_requested(dataset: Dataset, places: list[Place]) -> None:
    assert [each.prepared for each in load(dataset, places, 10)] == [[], []]


def test_one_image_may_be_loaded_under_several_conditions(dataset: Dataset) -> None:
    entry = dataset.entries(CLEAN)[0]
    (loaded,) = load(dataset, [(CLEAN, entry), (NOISE, entry)], 8)
    clean, noisy = images([loaded])
    assert np.array_equal(clean, np.asarray(dataset.read(entry, CLEAN).image))
    assert not np.array_equal(clean, noisy)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_named_and_the_others_are_loaded(
    tmp_path: Path, workers: int, embedded_teacher: Teacher
) -> None:
    """One truncated JPEG among good ones, in a user's folder tree."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(3):
            picture = Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
            picture.save(tmp_path / name / f"{index}.jpg")
    damaged = tmp_path / "dog" / "1.jpg"
    damaged.write_bytes(damaged.read_bytes()[:600])
    folder = Dataset(load_card("folder"), tmp_path)
    places = [(CLEAN, entry) for entry in folder.entries(CLEAN)]
    (loaded,) = load(folder, places, 8, [evaluation_crops(embedded_teacher)], workers)
    assert len(loaded.images) == len(loaded.places) == 5
    assert [len(crops) for crops, _ in loaded.prepared] == [5]
    (unreadable,) = loaded.unread
    assert (unreadable.condition, unreadable.entry.label) == (CLEAN, 1)
    assert "1.jpg" in str(unreadable.error)
    assert "\n" not in str(unreadable.error)


def test_a_gpu_gets_loading_processes_and_a_cpu_keeps_its_cores() -> None:
    assert default_workers(torch.device("cpu")) == 0
    assert 1 <= default_workers(torch.device("cuda")) <= 8
