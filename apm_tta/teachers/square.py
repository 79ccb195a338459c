"""The whole image as a square, nothing cut off, so that locations of a grid match those of the image."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from apm_tta.constant_tensors import channel_values
from apm_tta.teachers.preprocessing import Preprocessing


class Square:
    """A transform that resizes images of any shape to a square and normalises them.

    An evaluation crop cuts borders off; comparing features of two models location by location requires the same part of
    the image at the same location.

    Args:
        preprocessing: side, normalisation and interpolation.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        side = (preprocessing.size, preprocessing.size)
        self._resize = v2.Compose([v2.Resize(side, InterpolationMode(preprocessing.interpolation)), v2.ToImage()])
        self._scale = v2.ToDtype(torch.float32, scale=True)
        self._mean, self._std = tuple(preprocessing.mean), tuple(preprocessing.std)

    def bytes(self, image: Image.Image) -> Tensor:
        """Resize an RGB image to ``(3, S, S)``, uint8, on the CPU."""
        resized: Tensor = self._resize(image)
        return resized

    def normalized(self, squares: Tensor) -> Tensor:
        """Normalise the results of ``bytes``, ``(..., 3, S, S)``, uint8 on any device, to float32."""
        scaled: Tensor = self._scale(squares)
        mean, std = (channel_values(values, squares.device) for values in (self._mean, self._std))
        return scaled.sub_(mean).div_(std)

    def __call__(self, image: Image.Image) -> Tensor:
        """Resize and normalise an RGB image to ``(3, S, S)``, float32, on the CPU."""
        return self.normalized(self.bytes(image))
