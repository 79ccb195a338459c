"""Views are a function of the image, its id, the seed and the request."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from apm_tta.methods.views import Views, ViewSpec
from apm_tta.teachers import Preprocessing, Teacher
from apm_tta.teachers.evaluation_crop import normalized

PREPROCESSING = Preprocessing(32, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), "bicubic")
SPEC = ViewSpec(8, (0.3, 1.0))


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8))


@pytest.mark.parametrize("augmix", [False, True])
def test_the_same_request_gives_the_same_views(picture: Image.Image, augmix: bool) -> None:
    spec = replace(SPEC, augmix=augmix)
    views = Views(spec, PREPROCESSING, seed=3).of("a", picture)
    assert (views.shape, views.dtype) == ((7, 3, 32, 32), torch.float32 if augmix else torch.uint8)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert torch.equal(Views(spec, PREPROCESSING, seed=3).of("a", picture), views)
    assert torch.equal(torch.get_rng_state(), state), "the global generator is restored"


def test_another_id_seed_or_scale_gives_other_views(picture: Image.Image) -> None:
    views = Views(SPEC, PREPROCESSING, seed=3).of("a", picture)
    others = [
        Views(SPEC, PREPROCESSING, seed=3).of("b", picture),
        Views(SPEC, PREPROCESSING, seed=4).of("a", picture),
        Views(replace(SPEC, crop_scale=(0.08, 1.0)), PREPROCESSING, seed=3).of("a", picture),
        Views(replace(SPEC, augmix=True), PREPROCESSING, seed=3).of("a", picture),
    ]
    assert not any(torch.equal(views, other) for other in others)
    assert len({view.numpy().tobytes() for view in views}) == 7, "no view appears twice"


def test_fewer_views_are_the_first_of_more(picture: Image.Image) -> None:
    many = Views(SPEC, PREPROCESSING, seed=3).of("a", picture)
    assert torch.equal(Views(replace(SPEC, count=4), PREPROCESSING, seed=3).of("a", picture), many[:3])
    assert Views(replace(SPEC, count=1), PREPROCESSING, seed=3).of("a", picture).shape == (0, 3, 32, 32)


def test_a_view_is_torchvisions_crop_and_flip(picture: Image.Image) -> None:
    """A crop of the whole area can only be resized, bilinearly for any teacher, and flipped: each view is either."""
    square = picture.resize((50, 50))
    views = Views(ViewSpec(20, (1.0, 1.0)), PREPROCESSING, seed=0).of("a", square)
    resize = v2.Compose([v2.Resize((32, 32), v2.InterpolationMode.BILINEAR, antialias=True), v2.PILToTensor()])
    whole = resize(square)
    kinds = [
        "plain" if torch.equal(view, whole) else "flipped" if torch.equal(view, whole.flip(-1)) else "cropped"
        for view in views
    ]
    assert {"plain", "flipped"} <= set(kinds)


def test_normalisation_is_that_of_the_evaluation_crop() -> None:
    pixels = torch.tensor([0, 128, 255], dtype=torch.uint8).view(3, 1, 1).expand(2, 3, 4, 4)
    expected = v2.Normalize(PREPROCESSING.mean, PREPROCESSING.std)(pixels.float() / 255)
    torch.testing.assert_close(normalized(pixels, PREPROCESSING), expected)


def test_the_teachers_own_normalisation_is_what_views_get(embedded_teacher: Teacher) -> None:
    """An image of the teacher's size, cropped whole, yields the teacher's own input."""
    rng = np.random.default_rng(1)
    size = embedded_teacher.image_size
    image = Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
    view = v2.PILToTensor()(image)[None]
    ours = normalized(view, embedded_teacher.preprocessing)[0]
    torch.testing.assert_close(ours, embedded_teacher.preprocess(image), rtol=0, atol=1e-6)
