"""Another mean and standard deviation: CLIP's, ImageNet's, a half each, or none."""

from __future__ import annotations

from dataclasses import replace

from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, IMAGENET_INCEPTION_MEAN, IMAGENET_INCEPTION_STD

from apm_tta.verification.causes.base import CAUSES, Attempt
from apm_tta.verification.setup import Case
from apm_tta.verification.transforms import with_normalization

_USUAL = {
    "CLIP's mean and deviation": (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD),
    "ImageNet's mean and deviation": (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD),
    "mean 0.5, deviation 0.5": (IMAGENET_INCEPTION_MEAN, IMAGENET_INCEPTION_STD),
    "not normalised": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


@CAUSES.register("normalization")
def normalization(case: Case) -> list[Attempt]:
    """Try the usual constants in place of the teacher's.

    Raises:
        NotApplicable: when its transform cannot be taken apart, or normalises nothing.
    """
    crop = case.start.crop
    return [
        Attempt(
            what,
            replace(
                case.start,
                crop=replace(
                    crop,
                    name=what,
                    transform=with_normalization(crop.transform, mean, std),
                    preprocessing=replace(crop.preprocessing, mean=tuple(mean), std=tuple(std)),
                ),
            ),
        )
        for what, (mean, std) in _USUAL.items()
        if (tuple(mean), tuple(std)) != (tuple(crop.preprocessing.mean), tuple(crop.preprocessing.std))
    ]
