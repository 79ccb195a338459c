"""The transform from an image to the input of an APM."""

from __future__ import annotations

from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode

from apm_tta.apm import IMAGENET_MEAN, IMAGENET_STD
from apm_tta.methods.batch import CommonKey
from apm_tta.methods.preparation import Preparation
from apm_tta.teachers.preprocessing import Preprocessing
from apm_tta.teachers.square import Square


def apm_input(size: int) -> Square:
    """Return torchvision's default ``Resize((S, S))`` without a crop, with ImageNet's mean and standard deviation."""
    return Square(Preprocessing(size, IMAGENET_MEAN, IMAGENET_STD, InterpolationMode.BILINEAR.value))


def apm_squares(size: int) -> Preparation:
    """Return what makes the squares of images, ``(3, S, S)``, ``uint8``, that ``apm_input`` then normalises."""
    return Preparation(CommonKey("the APM's squares", (size,)), _Bytes(size))


class _Bytes:
    def __init__(self, size: int) -> None:
        self._square = apm_input(size)

    def __call__(self, _sample_id: str, image: Image.Image) -> Tensor:
        return self._square.bytes(image)
