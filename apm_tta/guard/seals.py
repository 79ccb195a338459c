"""What a value was when it was lent, so that a change in place is noticed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from apm_tta.guard.checksum import Checksum, form


class Seal:
    """The content of a value: of a tensor or an array, or of lists, tuples and mappings of such.

    Args:
        value: is kept, so that nothing else gets its address.
    """

    def __init__(self, value: Any) -> None:
        self.value = value
        self._content = tuple(_content(value))

    def broken(self) -> Tensor:
        """Return whether the value is no longer what it was: one boolean, on the device where that was found out.

        A GPU is not waited for.
        """
        now = tuple(_content(self.value))
        plain = [part for part in self._content if not isinstance(part, Checksum)]
        if len(now) != len(self._content) or [part for part in now if not isinstance(part, Checksum)] != plain:
            return torch.tensor(True)
        pairs = [(then, part) for then, part in zip(self._content, now, strict=True) if isinstance(part, Checksum)]
        differing = [then.differs_from(part) for then, part in pairs]
        if not differing:
            return torch.tensor(False)
        return differing[0] if len(differing) == 1 else torch.stack(differing).any()


class LentImages(Protocol):
    """Images of which some are there in PIL's form; see ``Images``."""

    def made(self) -> list[Image.Image | None]: ...
    def arrays(self) -> list[NDArray[np.uint8]]: ...


class ImageSeals:
    """PIL images that are lent: read-only, so that whatever PIL changes in place gets memory of its own.

    Args:
        images: those that nobody has asked for yet are compared, where ``contents`` says so, with what they were made
            of.
        contents: whether pixels are compared too, which a few of PIL's functions write past that.
    """

    def __init__(self, images: LentImages, contents: bool) -> None:
        self._images = images
        self._before = images.made()
        for image in self._before:
            if image is not None:
                image.readonly = 1
        self._memory = [None if image is None else image.im for image in self._before]
        self._pixels = list(map(_digest, images.arrays())) if contents else None

    def first_broken(self) -> int | None:
        """Return the index of the first image that is no longer what it was; None where all are."""
        # What PIL images are made of, and views too: torch lends no memory that cannot be written.
        arrays = self._images.arrays() if self._pixels is not None else []
        for index, array in enumerate(arrays):
            if self._pixels is not None and _digest(array) != self._pixels[index]:
                return index
        for index, image in enumerate(self._images.made()):
            if image is None:
                continue
            before, memory = self._before[index], self._memory[index]
            try:
                same = before is None or (image is before and image.im is memory and image.size == memory.size)
                if same and self._pixels is not None:
                    same = _digest(image) == self._pixels[index]
            except ValueError:  # closed
                same = False
            if not same:
                return index
        return None


def _content(value: Any) -> Iterator[Any]:
    if isinstance(value, Tensor):
        yield form(value)
        yield Checksum(value)
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


def _digest(image: Image.Image | NDArray[np.uint8]) -> bytes:
    shape = image.size if isinstance(image, Image.Image) else image.shape[1::-1]
    return hashlib.blake2b(image.tobytes(), digest_size=16, salt=repr(shape).encode()[:16]).digest()
