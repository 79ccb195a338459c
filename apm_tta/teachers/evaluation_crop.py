"""The evaluation crop as bytes: a quarter of the size of what an encoder takes, and normalised where that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms as v1
from torchvision.transforms import v2

from apm_tta.constant_tensors import channel_values
from apm_tta.teachers.preprocessing import Preprocessing

Transform = Callable[[Image.Image], Tensor]
_PROBES = (1.3, 1.0)
"""Sides of the images by which a transform is tried, as multiples of its size."""
_BYTES = 255.0
_CACHED = 1 << 18
"""Values that are normalised at once on a CPU: 1 MB."""


@runtime_checkable
class MakesBytes(Protocol):
    """A transform that knows what it makes before it normalises."""

    def bytes_of(self, image: Image.Image) -> Tensor | None:
        """Return the crop ``(3, S, S)``, ``uint8``; None where what is normalised are no bytes."""
        ...


class EvaluationCrop:
    """The evaluation crop of an RGB image, for a loading process to make.

    Where the transform ends by scaling bytes and normalising them, as nearly all do, the bytes; else what the transform
    makes. Whether ``normalized`` makes of the bytes what the transform makes of the image, to the last bit, is tried.

    Args:
        transform: makes the encoder's input ``(3, S, S)``, ``float32``, from an RGB image.
        preprocessing: by which it normalises.
    """

    def __init__(self, transform: Transform, preprocessing: Preprocessing) -> None:
        self._transform = transform
        self._bytes_of = _bytes_of(transform)
        probes = [_noise(max(1, round(share * preprocessing.size)), preprocessing.size) for share in _PROBES]
        if not all(self._same(probe, preprocessing) for probe in probes):
            self._bytes_of = None

    def __call__(self, image: Image.Image) -> Tensor:
        """Return the crop ``(3, S, S)``: ``uint8``, or ``float32`` where it is normalised already."""
        crop = None if self._bytes_of is None else self._bytes_of(image)
        return self._transform(image) if crop is None else crop

    def _same(self, probe: Image.Image, preprocessing: Preprocessing) -> bool:
        if self._bytes_of is None or (crop := self._bytes_of(probe)) is None:
            return False
        return torch.equal(normalized(crop, preprocessing), self._transform(probe))


def normalized(crops: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Normalise crops ``(..., 3, S, S)``, ``uint8`` or ``float32`` in 0 .. 255, where they are, to ``float32``.

    In the order, and so with the rounding, of torchvision's ``ToTensor`` and ``Normalize``, on every device.
    """
    # Divided by a tensor on the device: by a Python number a GPU multiplies with its reciprocal.
    constants = ((_BYTES,), tuple(preprocessing.mean), tuple(preprocessing.std))
    top, mean, std = (channel_values(values, crops.device) for values in constants)
    result = torch.empty(crops.shape, dtype=torch.float32, device=crops.device)
    # On a CPU a few after each other, which stay in the processor's cache meanwhile.
    flat = crops.reshape(-1, *crops.shape[-3:])
    together = max(1, _CACHED // crops.shape[-3:].numel() if crops.device.type == "cpu" else len(flat))
    for to, values in zip(result.view_as(flat).split(together), flat.split(together), strict=True):
        to.copy_(values).div_(top).sub_(mean).div_(std)
    return result


def bytes_of_image(image: Image.Image) -> Tensor:
    """Return an RGB image as ``(3, H, W)``, ``uint8``."""
    return torch.from_numpy(np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1)))


def _bytes_of(transform: Any) -> Callable[[Image.Image], Tensor | None] | None:
    """Return what a transform does before it normalises; None where it is not known to normalise bytes at its end."""
    if isinstance(transform, MakesBytes):
        return transform.bytes_of
    if not isinstance(transform, v1.Compose | v2.Compose):
        return None
    steps = list(transform.transforms)
    if not steps or not isinstance(steps.pop(), v1.Normalize | v2.Normalize):
        return None
    while steps and _turns_into_a_tensor(steps[-1]):
        steps.pop()
    return _Steps(steps)


class _Steps:
    """The first steps of a transform, which make one PIL image of another."""

    def __init__(self, steps: Sequence[Callable[[Any], Any]]) -> None:
        self._steps = steps

    def __call__(self, image: Image.Image) -> Tensor | None:
        made: Any = image
        for step in self._steps:
            made = step(made)
        return bytes_of_image(made) if isinstance(made, Image.Image) and made.mode == "RGB" else None


def _turns_into_a_tensor(step: Any) -> bool:
    names = ("ToTensor", "MaybeToTensor", "PILToTensor", "ToImage", "ToDtype", "ConvertImageDtype")
    return type(step).__name__ in names


def _noise(side: int, size: int) -> Image.Image:
    """Make an image that is wider than high, unless it has the crop's own size."""
    width = side if side == size else side + 7
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, width, 3), dtype=np.uint8))
