"""A transform's size, mean, standard deviation and interpolation are measured, or it is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, ToTensor, v2

from apm_tta.errors import UserError
from apm_tta.teachers import Preprocessing
from apm_tta.teachers.measured_preprocessing import evaluation_transform, measure_preprocessing

IMAGENET = Preprocessing(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear")


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (torchvision.models.ResNet50_Weights.DEFAULT.transforms(), IMAGENET),
        (
            timm.data.create_transform(224, interpolation="bicubic", mean=IMAGENET.mean, std=IMAGENET.std),
            Preprocessing(224, IMAGENET.mean, IMAGENET.std, "bicubic"),
        ),
        (
            torchvision.transforms.Compose(
                [
                    torchvision.transforms.Resize(40, InterpolationMode.NEAREST),
                    torchvision.transforms.CenterCrop(32),
                    torchvision.transforms.ToTensor(),
                ]
            ),
            Preprocessing(32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "nearest"),
        ),
    ],
)
def test_libraries_own_transforms_are_measured(
    transform: Callable[[Image.Image], Tensor], expected: Preprocessing
) -> None:
    found = measure_preprocessing(transform)
    assert (found.size, found.interpolation) == (expected.size, expected.interpolation)
    assert found.mean == pytest.approx(expected.mean, abs=1e-6)
    assert found.std == pytest.approx(expected.std, abs=1e-6)


CHANNELS = st.tuples(*[st.floats(0, 1)] * 3)
SPREADS = st.tuples(*[st.floats(0.05, 1)] * 3)


@settings(max_examples=25)
@given(mean=CHANNELS, std=SPREADS, size=st.integers(1, 64), mode=st.sampled_from(["bilinear", "bicubic", "nearest"]))
def test_a_transform_is_what_was_measured_of_it(mean: Any, std: Any, size: int, mode: str) -> None:
    """Whatever the numbers, measuring the transform that they make gives them back."""
    stated = Preprocessing(size, mean, std, mode)
    transform = evaluation_transform(stated)
    assert measure_preprocessing(transform) == stated
    measured = measure_preprocessing(lambda image: transform(image), mode)
    assert measured.mean == pytest.approx(mean, abs=1e-4)
    assert measured.std == pytest.approx(std, rel=1e-4)


def test_a_statement_that_is_not_true_is_not_believed() -> None:
    """A transform may carry numbers that it does not use: what it does is what counts."""

    class Wrong:
        mean, std, interpolation = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear"

        def __call__(self, image: Image.Image) -> Tensor:
            return evaluation_transform(IMAGENET)(image)

    assert measure_preprocessing(Wrong()).mean == pytest.approx(IMAGENET.mean, abs=1e-5)


def test_a_composition_inside_another_says_how_it_resizes() -> None:
    nested = v2.Compose([v2.Compose([v2.Resize(40, InterpolationMode.BICUBIC), v2.CenterCrop(32)]), ToTensor()])
    assert measure_preprocessing(nested).interpolation == "bicubic"


def test_an_interpolation_by_torchvision_s_own_name_is_taken_and_another_refused() -> None:
    transform = evaluation_transform(IMAGENET)
    unstated = after(lambda pixels: pixels)
    assert measure_preprocessing(unstated, InterpolationMode.BICUBIC).interpolation == "bicubic"  # type: ignore[arg-type]
    for wrong in ("cubic", 3):
        with pytest.raises(UserError, match=r"interpolation .* does not exist; choose from nearest"):
            measure_preprocessing(transform, wrong)  # type: ignore[arg-type]
    for stated in (
        Preprocessing(0, IMAGENET.mean, IMAGENET.std, "bilinear"),
        Preprocessing(8, (0, 0, 0), (1, 1, 0), "nearest"),
    ):
        with pytest.raises(UserError, match="is not a preprocessing"):
            evaluation_transform(stated)


def after(change: Callable[[Tensor], Tensor]) -> Callable[[Image.Image], Tensor]:
    return lambda image: change(evaluation_transform(IMAGENET)(image))


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (after(lambda pixels: pixels), "does not say how it resizes"),
        (after(lambda pixels: pixels**2), "does not map pixel values linearly"),
        (after(lambda pixels: pixels * 0), "does not map pixel values linearly"),
        (after(lambda pixels: pixels.flip(0)), "mixes or reorders the channels"),
        (after(lambda pixels: pixels.mean(0, keepdim=True).expand(3, -1, -1)), "mixes or reorders the channels"),
        (after(lambda pixels: pixels + torch.linspace(0, 1, 224)), "makes a plain image uneven"),
        (
            v2.Compose([v2.RandomHorizontalFlip(), v2.Resize(40), v2.CenterCrop(32), ToTensor()]),
            "preprocessing is random",
        ),
        (v2.Compose([v2.RandomCrop(32), v2.Resize(32), ToTensor()]), "preprocessing is random"),
        (after(lambda pixels: pixels[:, :100]), r"must return \(3, S, S\)"),
        (after(lambda pixels: pixels[None]), r"must return \(3, S, S\)"),
        (after(lambda pixels: pixels.numpy()), "it must return a float32 tensor"),
        (after(lambda pixels: pixels.half()), "returns torch.float16 values"),
        (v2.Grayscale(3), "it must return a float32 tensor"),
        (lambda image: image.no_such_attribute, "preprocessing fails on an RGB image of PIL: AttributeError"),
    ],
)
def test_what_views_could_not_be_made_alike_for_is_refused(
    transform: Callable[[Image.Image], Tensor], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        measure_preprocessing(transform)
    assert "\n" not in str(caught.value)
