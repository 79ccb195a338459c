"""How a field reads an image, and what its colours mean: as trained here, or as the released checkpoint was trained."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from apm_tta.apm import APMConfig
from apm_tta.apm.heads import rgb_target
from apm_tta.methods.apm_input import apm_input


class Pixels(Protocol):
    """A conversion of images to an APM's input, and of an APM's colours to those of an image."""

    def prepare(self, image: Image.Image) -> Tensor:
        """Convert an RGB image to the APM's input, ``(3, S, S)``, on the CPU."""
        ...

    def target_colours(self, pixels: Tensor, cell: int) -> Tensor:
        """Return the colours that the RGB head should decode, ``(B, L, 3)``, of inputs ``(B, 3, S, S)``.

        They are means of squares of ``cell`` pixels per side, row by row.
        """
        ...

    def to_rgb(self, colours: Tensor) -> Tensor:
        """Convert decoded colours, ``(..., 3)``, to RGB in 0 .. 1 where the field is right."""
        ...


class ImageNetPixels:
    """A square, ImageNet-normalised; colours are the means of its patches."""

    def __init__(self, config: APMConfig) -> None:
        self._square = apm_input(config.image_size)

    def prepare(self, image: Image.Image) -> Tensor:
        """See ``Pixels.prepare``."""
        return self._square(image)

    def target_colours(self, pixels: Tensor, cell: int) -> Tensor:
        """See ``Pixels.target_colours``."""
        return rgb_target(pixels, cell)

    def to_rgb(self, colours: Tensor) -> Tensor:
        """See ``Pixels.to_rgb``."""
        return colours


class ReleasedPixels:
    """The input of the pretrained public checkpoint, as the public code reads images by OpenCV.

    Channels are blue, green, red; images are resized bilinearly without smoothing, and each is stretched from its own
    smallest and largest value to 0 .. 1 and not normalised further. Colours are means of those values.
    """

    def __init__(self, config: APMConfig) -> None:
        self._side = config.image_size

    def prepare(self, image: Image.Image) -> Tensor:
        """See ``Pixels.prepare``."""
        array = np.asarray(image.convert("RGB"))[:, :, ::-1]
        resized = cv2.resize(np.ascontiguousarray(array), (self._side, self._side)).astype(np.float32)
        low, high = resized.min(), resized.max()
        stretched = (resized - low) / max(high - low, 1.0)  # an image of one colour becomes black, not 0 / 0
        return torch.from_numpy(stretched).permute(2, 0, 1)

    def target_colours(self, pixels: Tensor, cell: int) -> Tensor:
        """See ``Pixels.target_colours``."""
        return avg_pool2d(pixels, cell).flatten(2).transpose(1, 2)

    def to_rgb(self, colours: Tensor) -> Tensor:
        """See ``Pixels.to_rgb``; the colours are stretched as the input was."""
        return colours.flip(-1)
