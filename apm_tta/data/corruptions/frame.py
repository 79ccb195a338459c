"""The size at which images are corrupted: severities are defined in pixels, and mean nothing at another size."""

from __future__ import annotations

from typing import Protocol

from PIL import Image

from apm_tta.data.corruptions.apply import Parameters

IMAGENET_SHORTER_SIDE, IMAGENET_SIDE = 256, 224
"""What ``make_imagenet_c.py`` makes of a file before it is corrupted: ``Resize(256)``, ``CenterCrop(224)``."""
CIFAR_SIDE = 32
"""What ``make_cifar_c.py`` corrupts."""

ENLARGED = f"enlarged to a shorter side of {IMAGENET_SHORTER_SIDE} pixels before it was corrupted"
_MOST_PIXELS = 100_000_000


class WrongSize(ValueError):
    """An image cannot be corrupted at the size for which the severities are meant; the message states its own."""


class Frame(Protocol):
    """Brings an image to the size at which it is corrupted.

    Attributes:
        side: of what is corrupted, a square, pixels.
    """

    side: int

    def cut(self, image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
        """Return the image to corrupt, and remarks on what was done to it beyond the rule.

        Raises:
            WrongSize: when that cannot be done.
        """
        ...


class CentreCrop:
    """As ImageNet-C's authors did: shorter side to 256 pixels, bilinear, and the 224 x 224 pixels in the middle."""

    side = IMAGENET_SIDE

    def __str__(self) -> str:
        return f"{self.side} x {self.side} from the middle, the shorter side at {IMAGENET_SHORTER_SIDE} (bilinear)"

    def cut(self, image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
        """Resize and crop; see ``Frame.cut``."""
        from torchvision.transforms import CenterCrop, Resize

        shorter, longer = sorted(image.size)
        if longer * IMAGENET_SHORTER_SIDE**2 > shorter * _MOST_PIXELS:
            raise WrongSize(
                f"{image.width} x {image.height} pixels, too narrow for a crop of {self.side} x {self.side}"
            )
        crop: Image.Image = CenterCrop(self.side)(Resize(IMAGENET_SHORTER_SIDE)(image))
        return crop, (ENLARGED,) if shorter < IMAGENET_SHORTER_SIDE else ()


class AsStored:
    """As CIFAR-10-C's authors did: the image as it is, which has to be of one size.

    Args:
        side: of every image, pixels.
        defined_for: the side that the severities are meant for, pixels.
    """

    def __init__(self, side: int, defined_for: int) -> None:
        self.side, self.defined_for = side, defined_for

    def __str__(self) -> str:
        other = f" (the severities are for {self.defined_for} x {self.defined_for})"
        return f"{self.side} x {self.side} as stored{'' if self.side == self.defined_for else other}"

    def cut(self, image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
        """Return the image itself; see ``Frame.cut``."""
        if image.size != (self.side, self.side):
            raise WrongSize(f"{image.width} x {image.height} pixels, not {self.side} x {self.side}")
        return image, ()


def frame_of(parameters: Parameters, side: int | None, stored: bool) -> Frame | None:
    """Return the frame of a data set's corruptions.

    Args:
        parameters: whose severities.
        side: of every image, where all are squares of one size, pixels.
        stored: whether corrupted images are stored on disk; otherwise they are made as images are read.

    Returns:
        The frame; None where images are corrupted at a size that nothing states.
    """
    if parameters == "imagenet" and not stored:
        return CentreCrop()
    return None if side is None else AsStored(side, side if stored else CIFAR_SIDE)
