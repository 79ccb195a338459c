"""Consistency, as CoTTA (arXiv 2203.13591) and later methods ask for it: under random changes of a whole batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as images_of

from apm_tta.constant_tensors import channel_values
from apm_tta.device_copies import device_copy
from apm_tta.teachers.preprocessing import Preprocessing


def _gamma(images: Tensor, exponent: float) -> Tensor:
    changed: Tensor = images_of.adjust_gamma(images.clamp(1e-8, 1), exponent)
    return changed


_COLOURS: tuple[tuple[Callable[[Tensor, float], Tensor], float, float], ...] = (
    (images_of.adjust_brightness, 0.6, 1.4),
    (images_of.adjust_contrast, 0.7, 1.3),
    (images_of.adjust_saturation, 0.5, 1.5),
    (images_of.adjust_hue, -0.06, 0.06),
    (_gamma, 0.7, 1.3),
)
"""The changes of colour, and the range of each one's factor."""


class BatchAugmentation:
    """Colours, a small affine map, perhaps blur and noise, and a flip: drawn once for all images of a batch.

    The ranges are those of CoTTA's ``transforms``, in the form of ``get_tta_transforms`` of
    mariodoebler/test-time-adaptation; there the draws are the process's, here a generator's.

    Args:
        preprocessing: the teacher's, for the range of its pixels.
        padding: of the affine map.
        blur_and_noise: whether the images are blurred and noise is added, as CoTTA does.
    """

    def __init__(
        self, preprocessing: Preprocessing, padding: Literal["edge", "reflect"], *, blur_and_noise: bool
    ) -> None:
        self._mean, self._std = tuple(preprocessing.mean), tuple(preprocessing.std)
        self._padding, self._blur_and_noise = padding, blur_and_noise

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Change the teacher's input ``(B, 3, S, S)``.

        Args:
            pixels: normalised.
            generator: on the CPU.
        """
        mean, std = (channel_values(values, pixels.device) for values in (self._mean, self._std))
        images = self._colours((pixels * std + mean).clamp(0, 1), generator)
        images = self._moved(images, generator)
        if self._blur_and_noise:
            images = images_of.gaussian_blur(images, [5, 5], [_between(0.001, 0.5, generator)] * 2)
        if torch.rand((), generator=generator) < 0.5:
            images = images.flip(-1)
        if self._blur_and_noise:
            noise = torch.randn(images.shape, generator=generator)
            images = images + 0.005 * device_copy(noise, images.device)
        return (images.clamp(0, 1) - mean) / std

    def _colours(self, images: Tensor, generator: torch.Generator) -> Tensor:
        for index in torch.randperm(len(_COLOURS), generator=generator).tolist():
            change, least, most = _COLOURS[index]
            images = change(images, _between(least, most, generator))
        return images

    def _moved(self, images: Tensor, generator: torch.Generator) -> Tensor:
        side = images.shape[-1]
        padded = images_of.pad(images, [side // 2], padding_mode=self._padding)
        # Of the padded side, which is twice the image's.
        most = padded.shape[-1] / 16
        angle, scale = _between(-15, 15, generator), _between(0.9, 1.1, generator)
        shift = [round(_between(-most, most, generator)) for _ in range(2)]
        moved = images_of.affine(padded, angle, shift, scale, [0.0, 0.0], InterpolationMode.BILINEAR)
        cropped: Tensor = images_of.center_crop(moved, [side])
        return cropped


def _between(least: float, most: float, generator: torch.Generator) -> float:
    return least + (most - least) * float(torch.rand((), generator=generator))


def symmetric_cross_entropy(logits: Tensor, others: Tensor) -> Tensor:
    """Compute the mean of both cross entropies of the softmax of logits ``(B, C)`` and of others, ``(B,)``."""
    forwards = (others.softmax(-1) * logits.log_softmax(-1)).sum(-1)
    backwards = (logits.softmax(-1) * others.log_softmax(-1)).sum(-1)
    return -(forwards + backwards) / 2
