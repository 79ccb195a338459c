"""The transform from an image to the input of an APM."""

from __future__ import annotations

from torchvision.transforms import InterpolationMode

from apm_tta.apm import IMAGENET_MEAN, IMAGENET_STD
from apm_tta.teachers.preprocessing import Preprocessing
from apm_tta.teachers.square import Square


def apm_input(size: int) -> Square:
    """Return torchvision's default ``Resize((S, S))`` without a crop, with ImageNet's mean and standard deviation."""
    return Square(Preprocessing(size, IMAGENET_MEAN, IMAGENET_STD, InterpolationMode.BILINEAR.value))
