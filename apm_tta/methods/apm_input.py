"""The image as an APM takes it."""

from __future__ import annotations

from torchvision.transforms import InterpolationMode

from apm_tta.apm import IMAGENET_MEAN, IMAGENET_STD
from apm_tta.teachers.preprocessing import Preprocessing
from apm_tta.teachers.square import Square


def apm_input(size: int) -> Square:
    """Make torchvision's ``Resize((S, S))`` with its defaults, no crop; ImageNet's mean and standard deviation."""
    return Square(Preprocessing(size, IMAGENET_MEAN, IMAGENET_STD, InterpolationMode.BILINEAR.value))
