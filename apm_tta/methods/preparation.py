"""What is made of every image before the methods see it: in the loading processes, where there are some."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from PIL import Image
from torch import Tensor

from apm_tta.methods.batch import CommonKey

Prepare = Callable[[str, Image.Image], Tensor]
"""Take an image's id and the image in RGB; return a tensor on the CPU, of one shape and type for all images."""


@dataclass(frozen=True)
class Preparation:
    """Something that a method wants of every image, and that depends on nothing but the image and its id.

    Two with one key are one: what they make lies under that key, stacked, ``(B, ...)``.

    Attributes:
        key: under which it lies among the values that methods share.
        make: makes it of one image; it is sent to the loading processes, so it must pickle.
        whole_images: whether the images themselves are needed beside it on the teacher's device.
        on_device: whether it is moved to the teacher's device as soon as it is there.
    """

    key: CommonKey
    make: Prepare = field(compare=False)
    whole_images: bool = False
    on_device: bool = True
