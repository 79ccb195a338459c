"""Corrupted images are crops already: a teacher of their size takes them as they are."""

from __future__ import annotations

from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor

from apm_tta.teachers.base import Teacher
from apm_tta.teachers.encoding_of import WrappingTeacher
from apm_tta.teachers.evaluation_crop import EvaluationCrop, bytes_of_image, normalized
from apm_tta.teachers.preprocessing import Preprocessing

CROPS = "crops"
"""Key of the identity of such a teacher."""
_ROUNDING = 1e-4


def taking_crops(teacher: Teacher, side: int | None) -> Teacher:
    """Return a teacher that does not resize images of ``side`` x ``side`` pixels, where that is its own input's size.

    ImageNet-C's images are the crops on which its authors evaluate: ``ToTensor`` and ``Normalize``, nothing else. Many
    of timm's transforms would enlarge them once more and crop again.

    Args:
        teacher: any.
        side: of the crops, pixels; None for images that are no crops.

    Returns:
        ``teacher`` itself where its input has another size, or its transform does not resize them anyway.
    """
    if side is None or teacher.image_size != side:
        return teacher
    taking = CropTakingTeacher(teacher)
    probe = Image.effect_noise((side, side), 64).convert("RGB")
    return teacher if torch.allclose(teacher.preprocess(probe), taking.preprocess(probe), atol=_ROUNDING) else taking


class CropTakingTeacher(WrappingTeacher):
    """A teacher that takes images of its input's size as they are; all else is delegated to the wrapped one."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__(teacher, {CROPS: f"of {teacher.image_size} pixels are not resized"})
        self.preprocess = _TakeCrops(teacher.preprocess, teacher.preprocessing)


class _TakeCrops:
    """A transform that only normalises an image of S x S pixels, and does to others what another one does.

    Args:
        transform: the other one.
        preprocessing: of both.
    """

    def __init__(self, transform: Callable[[Image.Image], Tensor], preprocessing: Preprocessing) -> None:
        self._transform, self._preprocessing = transform, preprocessing
        self._crop = EvaluationCrop(transform, preprocessing)

    def __call__(self, image: Image.Image) -> Tensor:
        """Return the normalised evaluation crop ``(3, S, S)`` on the CPU."""
        return normalized(self._as_it_is(image), self._preprocessing) if self._fits(image) else self._transform(image)

    def bytes_of(self, image: Image.Image) -> Tensor | None:
        """Return what is normalised, ``(3, S, S)``, ``uint8``; None where the other transform normalises no bytes."""
        crop = self._as_it_is(image) if self._fits(image) else self._crop(image)
        return crop if crop.dtype == torch.uint8 else None

    def _fits(self, image: Image.Image) -> bool:
        return image.size == (self._preprocessing.size, self._preprocessing.size)

    def _as_it_is(self, image: Image.Image) -> Tensor:
        return bytes_of_image(image if image.mode == "RGB" else image.convert("RGB"))
