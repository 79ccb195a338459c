"""The evaluation crop as bytes, normalised where the teacher is, is the teacher's own to the last bit."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from open_clip import image_transform
from PIL import Image
from timm.data import create_transform
from torch import Tensor
from torchvision import transforms as v1
from torchvision.transforms import v2

from apm_tta.teachers import Teacher
from apm_tta.teachers.crops import taking_crops
from apm_tta.teachers.evaluation_crop import EvaluationCrop, normalized
from apm_tta.teachers.measured_preprocessing import evaluation_transform
from apm_tta.teachers.preprocessing import Preprocessing

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
KNOWN = Preprocessing(32, MEAN, STD, "bicubic")
SIZES = [(50, 37), (32, 32), (20, 90), (33, 31)]


def photograph(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(sum(size)).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


def as_tensor_first(image: Image.Image) -> Tensor:
    """Resize values that are no longer bytes: there are none to hand over."""
    tensor = v2.functional.pil_to_tensor(image).float() / 255
    return v2.functional.normalize(v2.functional.resize(tensor, [32, 32], antialias=True), list(MEAN), list(STD))


RESIZE, NORMALIZE = v1.Resize((32, 32)), v1.Normalize(MEAN, STD)
BYTES = {
    "open_clip": image_transform(32, is_train=False, mean=MEAN, std=STD),
    "timm": create_transform((3, 32, 32), interpolation="bicubic", mean=MEAN, std=STD, crop_pct=0.9),
    "torchvision": v1.Compose([v1.Resize(40), v1.CenterCrop(32), v1.ToTensor(), NORMALIZE]),
}
FLOATS = {
    "a function": as_tensor_first,
    "resized as a tensor": v2.Compose(
        [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Resize((32, 32)), v2.Normalize(MEAN, STD)]
    ),
    "another step at the end": v1.Compose([RESIZE, v1.ToTensor(), NORMALIZE, v1.Lambda(lambda x: x * 1.5)]),
    "not normalised": v1.Compose([RESIZE, v1.ToTensor()]),
    "normalised otherwise": v1.Compose([RESIZE, v1.ToTensor(), v1.Normalize(STD, MEAN)]),
    "multiplied by a reciprocal": evaluation_transform(KNOWN),
}


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_are_normalised_later_are_what_the_transform_makes(name: str) -> None:
    crop: EvaluationCrop = pickle.loads(pickle.dumps(EvaluationCrop(BYTES[name], KNOWN)))
    for size in SIZES:
        found = crop(photograph(size))
        assert found.dtype == torch.uint8
        assert torch.equal(normalized(found, KNOWN), BYTES[name](photograph(size)))


@pytest.mark.parametrize("name", FLOATS)
def test_a_transform_that_normalises_no_bytes_is_used_as_it_is(name: str) -> None:
    crop = EvaluationCrop(FLOATS[name], KNOWN)
    for size in SIZES:
        found = crop(photograph(size))
        assert found.dtype == torch.float32
        assert torch.equal(found, FLOATS[name](photograph(size)))


def test_many_crops_are_normalised_as_each() -> None:
    crops = torch.randint(0, 256, (2, 3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = normalized(crops, KNOWN)
    assert torch.equal(whole[1, 2], normalized(crops[1, 2], KNOWN))
    assert normalized(crops[:0], KNOWN).shape == (0, 3, 3, 32, 32)


def test_a_teacher_that_takes_crops_hands_them_over_as_they_are(embedded_teacher: Teacher) -> None:
    side = embedded_teacher.image_size
    teacher = taking_crops(embedded_teacher, side)
    crop = EvaluationCrop(teacher.preprocess, teacher.preprocessing)
    for size in ((side, side), (50, 41)):
        found = crop(photograph(size))
        assert found.dtype == torch.uint8
        assert torch.equal(normalized(found, teacher.preprocessing), teacher.preprocess(photograph(size)))
