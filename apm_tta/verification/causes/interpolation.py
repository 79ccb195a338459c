"""Another interpolation: bicubic, bilinear, nearest."""

from __future__ import annotations

from dataclasses import replace

from torchvision.transforms import InterpolationMode

from apm_tta.verification.causes.base import CAUSES, Attempt
from apm_tta.verification.setup import Case
from apm_tta.verification.transforms import with_interpolation

_MODES = (InterpolationMode.BICUBIC, InterpolationMode.BILINEAR, InterpolationMode.NEAREST)


@CAUSES.register("interpolation")
def interpolation(case: Case) -> list[Attempt]:
    """Try the other interpolations in the teacher's own transform.

    Raises:
        NotApplicable: when it cannot be taken apart, or resizes nothing.
    """
    crop = case.start.crop
    return [
        Attempt(
            f"{mode.value} interpolation",
            replace(
                case.start,
                crop=replace(
                    crop,
                    name=f"{mode.value} interpolation",
                    transform=with_interpolation(crop.transform, mode),
                    preprocessing=replace(crop.preprocessing, interpolation=mode.value),
                ),
            ),
        )
        for mode in _MODES
        if mode.value != crop.preprocessing.interpolation
    ]
