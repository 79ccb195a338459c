"""Another part of the image: squashed, cropped, padded, or not resized."""

from __future__ import annotations

from dataclasses import replace

from open_clip.transform import CenterCropOrPad, ResizeKeepRatio
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import CenterCrop, Resize

from apm_tta.verification.causes.base import CAUSES, Attempt
from apm_tta.verification.setup import Case
from apm_tta.verification.transforms import same_input, with_geometry

_SHARE = 0.875
"""Of torchvision's usual evaluation: 224 of 256 pixels."""


@CAUSES.register("resize and crop")
def resize(case: Case) -> list[Attempt]:
    """Try the usual ways from an image of any shape to the network's square.

    Raises:
        NotApplicable: when the teacher's transform cannot be taken apart.
    """
    crop = case.start.crop
    size, mode = crop.preprocessing.size, InterpolationMode(crop.preprocessing.interpolation)
    larger = round(size / _SHARE)
    ways = {
        "shorter side resized, center crop": [Resize(size, mode), CenterCrop(size)],
        "squashed to a square": [Resize((size, size), mode)],
        "whole image with borders": [ResizeKeepRatio(size, longest=1, interpolation=mode), CenterCropOrPad(size)],
        f"shorter side resized to {larger}, center crop of {size}": [Resize(larger, mode), CenterCrop(size)],
        "center crop without resizing": [CenterCrop(size)],
    }
    changed = {what: with_geometry(crop.transform, steps) for what, steps in ways.items()}
    return [
        Attempt(what, replace(case.start, crop=replace(crop, name=what, transform=transform)))
        for what, transform in changed.items()
        if not same_input(transform, crop.transform)
    ]
