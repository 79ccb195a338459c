"""ImageNet-C's images are evaluated as they are: a teacher of their size does not resize them again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from apm_tta.data.cards import load_card
from apm_tta.data.dataset import Dataset
from apm_tta.data.sample import CLEAN, Condition
from apm_tta.teachers import Teacher
from apm_tta.teachers.crops import CROPS, taking_crops

SIDE = 32


def noise(side: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))


class Enlarging:
    """A teacher whose transform enlarges an image and crops it, as many of timm's do."""

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher

    def __getattr__(self, name: str) -> object:
        return getattr(self._teacher, name)

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        return self._teacher.preprocess(v2.CenterCrop(SIDE)(v2.Resize(37)(image)))


def test_a_crop_of_the_inputs_size_is_only_normalised(embedded_teacher: Teacher) -> None:
    enlarging = Enlarging(embedded_teacher)
    crop = noise(SIDE)
    whole = embedded_teacher.preprocess(crop)
    assert not torch.equal(enlarging.preprocess(crop), whole)
    assert torch.equal(taking_crops(enlarging, SIDE).preprocess(crop), whole)
    larger = noise(50)
    assert torch.equal(taking_crops(enlarging, SIDE).preprocess(larger), enlarging.preprocess(larger))


@pytest.mark.parametrize("side", [None, 224])
def test_a_teacher_of_another_size_resizes_as_it_does(embedded_teacher: Teacher, side: int | None) -> None:
    enlarging = Enlarging(embedded_teacher)
    assert taking_crops(enlarging, side) is enlarging


def test_a_teacher_that_does_not_resize_them_anyway_is_left_alone(embedded_teacher: Teacher) -> None:
    assert taking_crops(embedded_teacher, SIDE) is embedded_teacher


def test_it_is_otherwise_the_same_teacher_and_its_identity_tells(embedded_teacher: Teacher) -> None:
    taking = taking_crops(Enlarging(embedded_teacher), SIDE)
    assert {**taking.identity} == {**embedded_teacher.identity, CROPS: "of 32 pixels are not resized"}
    names = ("name", "feature_dim", "image_size", "patch_size", "logit_scale", "device", "classifier", "classifiers")
    for name in (*names, "preprocessing", "support", "text_tower", "image_encoder", "layers"):
        assert getattr(taking, name) == getattr(embedded_teacher, name), name
    pixels = taking.preprocess(noise(SIDE))[None]
    with torch.no_grad():
        assert torch.equal(taking.encode_image(pixels), embedded_teacher.encode_image(pixels))
        assert torch.equal(taking.encode_grid(pixels), embedded_teacher.encode_grid(pixels))
    weights = taking.class_weights(["bag"], ["a photo of a {}."])
    assert torch.equal(weights, embedded_teacher.class_weights(["bag"], ["a photo of a {}."]))


def test_only_corruptions_of_imagenet_are_crops() -> None:
    fog = Condition("fog", 1)
    for name, side in (("imagenet", 224), ("imagenet-c", 224), ("dtd", 224), ("cifar10", None), ("cifar10-c", None)):
        dataset = Dataset(load_card(name))
        assert dataset.crop_side([CLEAN, fog]) == side
        assert dataset.crop_side([CLEAN]) is None
    assert replace(fog).corruption == "fog"
