"""The images of a batch: arrays as they were loaded, and PIL images where a method asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Pixels = NDArray[np.uint8]
"""An RGB image, ``(H, W, 3)``, ``uint8``."""


class _Held:
    """One image, in the form that it came in and in those that were asked for since."""

    def __init__(self, source: Image.Image | Pixels) -> None:
        self.image = source if isinstance(source, Image.Image) else None
        self._array = None if isinstance(source, Image.Image) else source

    def as_image(self) -> Image.Image:
        if self.image is None:
            self.image = Image.fromarray(self._writable())
            self.image.readonly = 1
        return self.image

    def as_array(self) -> Pixels:
        shown = self._writable().view()
        shown.flags.writeable = False
        return shown

    def as_tensor(self) -> Tensor:
        return torch.from_numpy(self._writable())

    def _writable(self) -> Pixels:
        """Return the array that nobody else gets as such: torch takes no other kind without a warning."""
        if self._array is None or not self._array.flags.writeable:
            self._array = np.array(self.image if self._array is None else self._array)
        return self._array


class Images(Sequence[Image.Image]):
    """RGB images in PIL's form. A loading process hands over arrays, which become PIL images at the first use.

    Args:
        sources: PIL images in RGB, or arrays ``(H, W, 3)``, ``uint8``.
    """

    def __init__(self, sources: Sequence[Image.Image | Pixels]) -> None:
        self._held: Sequence[_Held] = tuple(map(_Held, sources))

    def __len__(self) -> int:
        return len(self._held)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> Images: ...
    def __getitem__(self, index: int | slice) -> Image.Image | Images:
        if isinstance(index, slice):
            part = Images(())
            part._held = self._held[index]
            return part
        return self._held[index].as_image()

    def __iter__(self) -> Iterator[Image.Image]:
        return (held.as_image() for held in self._held)

    def array(self, index: int) -> Pixels:
        """Return one image as an array ``(H, W, 3)``, which cannot be written."""
        return self._held[index].as_array()

    def arrays(self) -> list[Pixels]:
        """Return all images as arrays."""
        return [held.as_array() for held in self._held]

    def tensors(self) -> list[Tensor]:
        """Return all images as tensors ``(H, W, 3)`` on the CPU, into which nobody may write."""
        return [held.as_tensor() for held in self._held]

    def made(self) -> list[Image.Image | None]:
        """Return the images that are there in PIL's form; None for those that nobody has asked for."""
        return [held.image for held in self._held]

    def __reduce__(self) -> tuple[type[Images], tuple[Any, ...]]:
        return Images, (self.arrays(),)
