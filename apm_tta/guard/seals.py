"""What a value was when it was lent, so that a change in place is noticed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from apm_tta.guard.checksum import checksum


class Seal:
    """The content of a value: of a tensor or an array, or of lists, tuples and mappings of such.

    Args:
        value: is kept, so that nothing else gets its address.
    """

    def __init__(self, value: Any) -> None:
        self.value = value
        self._content = tuple(_content(value))

    @property
    def broken(self) -> bool:
        """Whether the value is no longer what it was."""
        return tuple(_content(self.value)) != self._content


class ImageSeals:
    """PIL images that are lent: read-only, so that whatever PIL changes in place gets memory of its own.

    Args:
        images: the images.
        contents: whether pixels are compared too, which a few of PIL's functions write past that.
    """

    def __init__(self, images: tuple[Image.Image, ...], contents: bool) -> None:
        self._images = images
        for image in images:
            image.readonly = 1
        self._memory = [image.im for image in images]
        self._pixels = [_digest(image) for image in images] if contents else None

    def first_broken(self) -> int | None:
        """Return the index of the first image that is no longer what it was; None where all are."""
        for index, (image, memory) in enumerate(zip(self._images, self._memory, strict=True)):
            try:
                same = image.im is memory and image.size == memory.size
                if same and self._pixels is not None:
                    same = _digest(image) == self._pixels[index]
            except ValueError:  # closed
                same = False
            if not same:
                return index
        return None


def _content(value: Any) -> Iterator[Any]:
    if isinstance(value, Tensor):
        yield checksum(value)
    elif isinstance(value, np.ndarray):
        yield value.shape, value.dtype, hashlib.blake2b(value.tobytes()).digest()
    elif isinstance(value, list | tuple):
        yield type(value), len(value)
        for part in value:
            yield from _content(part)
    elif isinstance(value, Mapping):
        yield type(value), tuple(value)
        for part in value.values():
            yield from _content(part)


def _digest(image: Image.Image) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()
