"""What the random views of an image are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ViewSpec:
    """A description of views; methods with equal descriptions share their views.

    Attributes:
        count: N, the evaluation crop at index 0 included.
        crop_scale: bounds of the share of the image's area that a crop shows, which is drawn uniformly between them.
        augmix: whether AugMix (arXiv 1912.02781; severity 1, three chains, as TPT's and MEMO's code runs it) follows
            the crop.
        interpolation: by which a crop is resized; ``bilinear`` in the code of TPT, and of all that took its views over.
        crop: ``resized``: of random size, as torchvision's ``RandomResizedCrop``. ``padded``: of the image's own size,
            from the image with an eighth of its side in black around it, as ``RandomCrop(32, padding=4)`` does for
            CIFAR.
        fill: RGB of what AugMix moves into the image; black in TPT's code, a dark red in MEMO's, whose
            ``fillcolor=128`` Pillow takes for the red channel.
    """

    count: int = 64
    crop_scale: tuple[float, float] = (0.08, 1.0)
    augmix: bool = False
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    crop: Literal["resized", "padded"] = "resized"
    fill: tuple[int, int, int] = (0, 0, 0)
