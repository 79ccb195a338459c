"""What is to be told apart: the classes, how they stand in a prompt, and which literature the set belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["imagenet", "fine-grained", "cifar", "other"]


@dataclass(frozen=True)
class Task:
    """All that a method may know of a data set; nothing here says what is on an image.

    Attributes:
        classes: names in label order.
        template: the set's own prompt, with ``{}`` for the class.
        family: papers choose views and augmentation by it: ImageNet and its variants, the ten fine-grained sets that
            CoOp gathered, CIFAR, or anything else.
        crop_scale: smallest and largest share of the image's area that a random view shows.
    """

    classes: tuple[str, ...]
    template: str = "a photo of a {}."
    family: Family = "other"
    crop_scale: tuple[float, float] = (0.08, 1.0)
