"""Corrupted images are crops already: a teacher of their size takes them as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import Compose, Normalize, ToTensor

from apm_tta.teachers.base import Classifier, Support, Teacher
from apm_tta.teachers.encoding_of import DelegatedEncoding
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


class CropTakingTeacher(DelegatedEncoding):
    """A teacher that takes images of its input's size as they are; all else is delegated to the wrapped one."""

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher
        self.identity: Mapping[str, str] = {
            **teacher.identity,
            CROPS: f"of {teacher.image_size} pixels are not resized",
        }
        self.support: Support | None = teacher.support
        self.classifier: Classifier = teacher.classifier
        self.name: str = teacher.name
        self.feature_dim: int = teacher.feature_dim
        self.image_size: int = teacher.image_size
        self.patch_size: int | None = teacher.patch_size
        self.logit_scale: float = teacher.logit_scale
        self.device: torch.device = teacher.device
        self.classifiers: tuple[Classifier, ...] = teacher.classifiers
        self.preprocessing: Preprocessing = teacher.preprocessing
        self.scales: Callable[[Tensor], Tensor] = teacher.scales
        self.class_weights = teacher.class_weights
        self._normalise = Compose([ToTensor(), Normalize(teacher.preprocessing.mean, teacher.preprocessing.std)])

    @property
    def encoder(self) -> Teacher:
        """The wrapped teacher."""
        return self._teacher

    def preprocess(self, image: Image.Image) -> Tensor:
        """Return the normalised evaluation crop ``(3, S, S)`` on the CPU: the image itself where it is S x S."""
        if image.size != (self.image_size, self.image_size):
            return self._teacher.preprocess(image)
        pixels: Tensor = self._normalise(image.convert("RGB"))
        return pixels
