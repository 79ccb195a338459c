"""The images that the package carries are Fashion-MNIST's own, each with its own label."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from apm_tta.data.dataset import Dataset, open_dataset
from apm_tta.data.fashion_mnist import DEBIAN_FOLDER, load_split
from apm_tta.data.sample import CLEAN
from apm_tta.errors import UserError


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return open_dataset("fashion-mnist")


def test_there_are_2000_images_200_of_each_class(dataset: Dataset) -> None:
    entries = dataset.entries(CLEAN)
    assert len(entries) == len({entry.id for entry in entries}) == 2000 == dataset.card.images
    assert Counter(entry.label for entry in entries) == dict.fromkeys(range(10), 200)
    assert len(dataset.classes) == 10


def test_an_image_is_grey_28_by_28_and_read_as_rgb(dataset: Dataset) -> None:
    for entry in dataset.entries(CLEAN)[:20]:
        sample = dataset.read(entry, CLEAN)
        assert (sample.image.mode, sample.image.size) == ("RGB", (28, 28))
        red, green, blue = np.moveaxis(np.asarray(sample.image), -1, 0)
        assert np.array_equal(red, green)
        assert np.array_equal(red, blue)
        assert red.std() > 0


def test_every_image_and_label_equals_the_original_at_the_position_in_its_id(dataset: Dataset) -> None:
    """They also follow the rule that picked them: the first 200 of each class of the test split."""
    if not DEBIAN_FOLDER.is_dir():
        pytest.skip("Fashion-MNIST's original files are not installed (Debian's dataset-fashion-mnist)")
    images, labels = load_split(DEBIAN_FOLDER, "test")
    entries = dataset.entries(CLEAN)
    positions = [int(entry.id.removeprefix("test/")) for entry in entries]
    assert labels[positions].tolist() == [entry.label for entry in entries]
    ours = np.stack([np.asarray(dataset.read(entry, CLEAN).image)[..., 0] for entry in entries])
    assert np.array_equal(ours, images[positions])
    first = [np.flatnonzero(labels == label)[:200] for label in range(10)]
    assert positions == sorted(np.concatenate(first).tolist())


def test_a_data_root_for_carried_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is carried by the package; leave out --data-root") as caught:
        open_dataset("fashion-mnist", tmp_path)
    assert caught.value.exit_code == 2
