"""The images of a batch: one content as arrays, tensors and PIL images, whichever they came as."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from PIL import Image

from apm_tta.guard.seals import ImageSeals
from apm_tta.methods.batch import Batch
from apm_tta.methods.images import Images

ARRAYS = [np.random.default_rng(seed).integers(0, 256, (4 + seed, 6, 3), dtype=np.uint8) for seed in range(3)]


@pytest.fixture(params=["arrays", "PIL images"])
def images(request: pytest.FixtureRequest) -> Images:
    own = [each.copy() for each in ARRAYS]
    return Images(own if request.param == "arrays" else [Image.fromarray(each) for each in own])


def test_all_forms_have_one_content(images: Images) -> None:
    assert len(images) == 3
    for index, expected in enumerate(ARRAYS):
        assert np.array_equal(images.array(index), expected)
        assert np.array_equal(images.tensors()[index].numpy(), expected)
        assert images[index].mode == "RGB"
        assert np.array_equal(np.asarray(images[index]), expected)
    assert [each.size for each in images] == [(6, 4), (6, 5), (6, 6)]
    assert images[-1].size == (6, 6)


def test_an_image_is_one_object_in_every_part(images: Images) -> None:
    assert images[1] is images[1]
    assert images[1:][0] is images[1]
    assert list(images)[1] is images[1]


def test_no_pil_image_is_made_before_it_is_asked_for() -> None:
    images = Images(ARRAYS)
    images.tensors(), images.arrays(), images[1]
    assert [each is not None for each in images.made()] == [False, True, False]


def test_arrays_cannot_be_written(images: Images) -> None:
    with pytest.raises(ValueError, match="read-only"):
        images.array(0)[0] = 0


def test_they_travel_as_arrays(images: Images) -> None:
    arrived: Images = pickle.loads(pickle.dumps(images))
    assert all(np.array_equal(one, other) for one, other in zip(arrived.arrays(), ARRAYS, strict=True))
    assert arrived.made() == [None] * 3


def test_a_batch_of_pil_images_is_as_one_of_arrays() -> None:
    pictures = tuple(Image.fromarray(each) for each in ARRAYS)
    batch = Batch(("a", "b", "c"), pictures)
    assert batch.images[2] is pictures[2]
    assert [tuple(each.shape) for each in batch.tensors] == [(4, 6, 3), (5, 6, 3), (6, 6, 3)]


def test_a_change_to_the_memory_behind_an_image_is_noticed(images: Images) -> None:
    """Views are made of it, whether anybody has asked for a PIL image or not."""
    seals = ImageSeals(images, contents=True)
    images.tensors()
    assert seals.first_broken() is None
    images.tensors()[2][0, 0] += 1
    assert seals.first_broken() == 2


def test_a_change_to_an_image_that_was_made_meanwhile_is_noticed() -> None:
    images = Images(ARRAYS)
    seals = ImageSeals(images, contents=True)
    assert seals.first_broken() is None
    images[0].load()
    assert seals.first_broken() is None
    images[1].putpixel((0, 0), (1, 2, 3))
    assert seals.first_broken() == 1
