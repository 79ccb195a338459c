"""The classification task: the classes, their prompt, and the literature that the data set belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["imagenet", "fine-grained", "cifar", "other"]


@dataclass(frozen=True)
class Task:
    """Everything that a method may know about a data set; nothing here reveals what an image shows.

    Attributes:
        classes: names in label order.
        template: the data set's own prompt, with ``{}`` for the class.
        family: what papers choose views and augmentation by: ImageNet and its variants, the ten fine-grained sets that
            CoOp collected, CIFAR, or anything else.
        crop_scale: smallest and largest fraction of the image's area that a random view shows.
        dataset: name of its card, by which published settings are found; empty for images of no data set.
    """

    classes: tuple[str, ...]
    template: str = "a photo of a {}."
    family: Family = "other"
    crop_scale: tuple[float, float] = (0.08, 1.0)
    dataset: str = ""
