"""Shared code of the layouts whose images are stored in one array."""

from __future__ import annotations

import io
import math
import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image

from apm_tta.data.files import read_whole, size_of
from apm_tta.data.image_files import DamagedImage, MissingImage, Patience
from apm_tta.data.image_files.stored_bytes import named_error
from apm_tta.data.layouts.base import Entry, Layout, O
from apm_tta.data.sample import Condition, ReadImage, StoredImage

IMAGE_SHAPE = (32, 32, 3)
_HEADER = 1 << 16
"""Bytes in which the header of an array of numbers lies, whatever its version."""


class WrongArray(Exception):
    """An array file is not what it has to be; the message is one line for the user."""


def open_npy(path: Path, get: str, patience: Patience) -> NpyFile:
    """Read where the values of a ``.npy`` file lie, not the values; pickled objects are refused.

    Raises:
        WrongArray: when the file is missing, truncated, or not a ``.npy`` file of numbers.
        UnreachableImage: when it cannot be read.
    """
    try:
        stated = patience.read(os.fspath(path), lambda: read_whole(path, 0, min(_HEADER, _size(path))))
        header = io.BytesIO(stated)
        version = npy.read_magic(header)
        shape, fortran, dtype = npy.read_array_header_1_0(header) if version == (1, 0) else _header_2(header)
    except MissingImage:
        raise WrongArray(f"{path} is missing; to get it: {get}") from None
    except (ValueError, EOFError) as error:
        raise WrongArray(f"{path} is not a complete .npy file ({error}); unpack it again") from None
    opened = NpyFile(path, patience, tuple(shape), dtype, header.tell(), by_columns=fortran)
    if dtype.hasobject:
        raise WrongArray(f"{path} holds Python objects, not an array of numbers; unpack it again")
    if _size(path) < opened.start + opened.row_bytes * len(opened):
        raise WrongArray(f"{path} is not a complete .npy file (its end is missing); unpack it again")
    return opened


@dataclass(frozen=True)
class NpyFile:
    """A ``.npy`` file whose rows are read one by one: of one mapped into memory, a failing mount would end the process.

    Attributes:
        path: of the file.
        patience: with the file.
        shape: of the array.
        dtype: of its values.
        start: of the first value, in bytes.
        by_columns: whether the first index varies fastest: then a row can be read only with all others.
    """

    path: Path
    patience: Patience
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int
    by_columns: bool

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 0

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def row(self, number: int) -> NDArray[Any]:
        """Read one row.

        Raises:
            UnreachableImage: when that is impossible.
        """
        row: NDArray[Any] = self._columns[number] if self.by_columns else self._read(number, 1)[0]
        return row

    def whole(self) -> NDArray[Any]:
        """Read all rows; see ``row``."""
        return self._columns if self.by_columns else self._read(0, len(self))

    @cached_property
    def _columns(self) -> NDArray[Any]:
        return self._read(0, len(self)).reshape(-1).reshape(self.shape, order="F")

    def _read(self, first: int, count: int) -> NDArray[Any]:
        start, length = self.start + first * self.row_bytes, count * self.row_bytes
        content = self.patience.read(os.fspath(self.path), lambda: read_whole(self.path, start, length))
        return np.frombuffer(content, self.dtype).reshape(count, *self.shape[1:])


def _header_2(header: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    found: tuple[tuple[int, ...], bool, np.dtype[Any]] = npy.read_array_header_2_0(header)
    return found


def _size(path: Path) -> int:
    try:
        return size_of(path)
    except OSError as error:
        raise named_error(path, error) from None


def check_shape(path: Path, array: NpyFile, shape: tuple[int, ...], meaning: str) -> None:
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
            UnreadImage: when there is no such row, or it cannot be read.
        """

    def file_of(self, sample_id: str) -> None:
        """Return None: a file holds many images."""

    def folders_read(self, condition: Condition, entries: Sequence[Entry]) -> Mapping[Path, Path]:
        return {path.parent: path for path in self.files(condition, entries)} if entries else {}

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
