"""How a field sees an image, and how its colours are to be read: as trained here, or as the released checkpoint was."""

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
    """An image as the input of an APM, and the APM's colours as those of an image."""

    def of(self, image: Image.Image) -> Tensor:
        """An RGB image -> ``(3, S, S)``, as the APM takes it, on the CPU."""
        ...

    def colours(self, pixels: Tensor) -> Tensor:
        """``(B, 3, S, S)`` -> the colours that the RGB head is to decode, ``(B, g * g, 3)``."""
        ...

    def shown(self, colours: Tensor) -> Tensor:
        """Decoded colours ``(..., 3)`` -> RGB in 0 .. 1 where the field is right."""
        ...


class ImageNetPixels:
    """A square, ImageNet-normalised; colours are the means of its patches."""

    def __init__(self, config: APMConfig) -> None:
        self._square, self._patch = apm_input(config.image_size), config.patch_size

    def of(self, image: Image.Image) -> Tensor:
        """See ``Pixels.of``."""
        return self._square(image)

    def colours(self, pixels: Tensor) -> Tensor:
        """See ``Pixels.colours``."""
        return rgb_target(pixels, self._patch)

    def shown(self, colours: Tensor) -> Tensor:
        """See ``Pixels.shown``."""
        return colours


class ReleasedPixels:
    """As the public code reads images for its pretrained checkpoint: by OpenCV.

    Blue, green, red; resized bilinearly without smoothing; each image stretched from its own smallest to its own
    largest value to 0 .. 1, and not normalised further. Colours are means of those.
    """

    def __init__(self, config: APMConfig) -> None:
        self._side, self._patch = config.image_size, config.patch_size

    def of(self, image: Image.Image) -> Tensor:
        """See ``Pixels.of``."""
        array = np.asarray(image.convert("RGB"))[:, :, ::-1]
        resized = cv2.resize(np.ascontiguousarray(array), (self._side, self._side)).astype(np.float32)
        low, high = resized.min(), resized.max()
        stretched = (resized - low) / max(high - low, 1.0)  # an image of one colour is black to it, not 0 / 0
        return torch.from_numpy(stretched).permute(2, 0, 1)

    def colours(self, pixels: Tensor) -> Tensor:
        """See ``Pixels.colours``."""
        return avg_pool2d(pixels, self._patch).flatten(2).transpose(1, 2)

    def shown(self, colours: Tensor) -> Tensor:
        """See ``Pixels.shown``; stretched as its input was."""
        return colours.flip(-1)
