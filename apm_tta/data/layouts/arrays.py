"""Shared code of the layouts whose images are stored in one array."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apm_tta.data.layouts.base import Entry, Layout, O
from apm_tta.data.layouts.images import DamagedImage
from apm_tta.data.sample import ReadImage, StoredImage

IMAGE_SHAPE = (32, 32, 3)


class WrongArray(Exception):
    """An array file is not what it has to be; the message is one line for the user."""


def open_npy(path: Path, get: str) -> NDArray[Any]:
    """Map the array of a ``.npy`` file into memory without reading it; pickled objects are refused.

    Raises:
        WrongArray: when the file is missing, truncated, or not a ``.npy`` file.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise WrongArray(f"{path} is missing; to get it: {get}") from None
    except (OSError, ValueError, EOFError) as error:
        raise WrongArray(f"{path} is not a complete .npy file ({error}); unpack it again") from None
    if not isinstance(array, np.ndarray):
        raise WrongArray(f"{path} is an archive of arrays, not one .npy file; unpack it again")
    return array


def check_shape(path: Path, array: NDArray[Any], shape: tuple[int, ...], meaning: str) -> None:
    """Check that an array of bytes has the expected shape.

    Raises:
        WrongArray: when it has another shape or type.
    """
    if array.shape != shape or array.dtype != np.uint8:
        raise WrongArray(f"{path} is {array.dtype} {array.shape}, expected uint8 {shape}: {meaning}")


def check_labels(path: Path, labels: NDArray[Any], classes: int) -> None:
    """Check that labels are integers in 0 .. classes - 1.

    Raises:
        WrongArray: when they are not.
    """
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise WrongArray(f"{path} is {labels.dtype} {labels.shape}, expected one integer per image")
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise WrongArray(f"{path} contains labels {labels.min()} to {labels.max()}, expected 0 to {classes - 1}")


def numbered_entries(prefix: str, labels: NDArray[Any]) -> list[Entry]:
    """Return entries with ids ``prefix/00000``, ``prefix/00001`` ..., one per label."""
    return [Entry(f"{prefix}/{row:05d}", int(label)) for row, label in enumerate(labels)]


class ArrayLayout(Layout[O]):
    """The common part of layouts whose images are rows of arrays of bytes, each a small picture.

    A subclass states ``row_shape``: ``(H, W, 3)``, ``(H, W)`` of grey levels, or ``(3, H, W)``.
    """

    row_shape: ClassVar[tuple[int, ...]] = IMAGE_SHAPE

    @abstractmethod
    def row(self, sample_id: str) -> NDArray[np.uint8]:
        """Return the row of the image with this id.

        Raises:
            WrongArray: when its array is not what it has to be.
            DamagedImage: when there is no such row.
        """

    def file_of(self, sample_id: str) -> None:
        """Return None: a file holds many images."""

    def stored(self, sample_id: str) -> StoredImage:
        try:
            return StoredImage(np.ascontiguousarray(self.row(sample_id)).tobytes())
        except WrongArray as error:
            raise DamagedImage(str(error)) from None

    def decode(self, sample_id: str, stored: StoredImage) -> ReadImage:
        pixels = np.frombuffer(stored.content, np.uint8).reshape(self.row_shape)
        shown = np.ascontiguousarray(pixels.transpose(1, 2, 0)) if self.row_shape[0] == 3 else pixels
        return ReadImage(Image.fromarray(shown).convert("RGB"), stored.sha256)


def row_number(sample_id: str, rows: int) -> int:
    """Return the row number at the end of an id made by ``numbered_entries``.

    Raises:
        DamagedImage: when that row does not exist.
    """
    last = sample_id.rpartition("/")[2]
    if not last.isdecimal() or int(last) >= rows:
        raise DamagedImage(f"there is no image {sample_id} among {rows}")
    return int(last)
