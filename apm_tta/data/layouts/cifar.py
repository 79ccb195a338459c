"""CIFAR-10 and CIFAR-100 as released, in the Python and in the binary version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from apm_tta.configuration import Configuration
from apm_tta.data.cards import DatasetCard
from apm_tta.data.files import is_file
from apm_tta.data.layouts.arrays import ArrayLayout, WrongArray, check_labels, numbered_entries, row_number
from apm_tta.data.layouts.base import LAYOUTS, Entry, Survey
from apm_tta.data.layouts.images import read_stored
from apm_tta.data.layouts.inert_pickle import read_pickle
from apm_tta.data.sample import Condition

PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class _Release:
    """The names that one of the two data sets uses.

    Attributes:
        names_file: file of the Python version, with the class names under ``names_key``.
        names_key: key of the class names in ``names_file``.
        labels_key: key of the labels in the batch of the Python version.
        text_names: file of class names in the binary version, one per line.
        label_bytes: bytes before each image in the binary version; the last is the label.
    """

    names_file: str
    names_key: bytes
    labels_key: bytes
    text_names: str
    label_bytes: int


_RELEASES = {
    "test_batch": _Release("batches.meta", b"label_names", b"labels", "batches.meta.txt", 1),
    "test": _Release("meta", b"fine_label_names", b"fine_labels", "fine_label_names.txt", 2),
}


class CifarOptions(Configuration):
    """Which file to read.

    Attributes:
        split: its name in the Python version, ``test_batch`` of CIFAR-10 or ``test`` of CIFAR-100.
    """

    split: Literal["test_batch", "test"]


@LAYOUTS.register("cifar")
class CifarLayout(ArrayLayout[CifarOptions]):
    """A tree with the file that the option ``split`` names, ``test_batch`` or ``test``, or the same with ``.bin``.

    It stores images channel by channel, row by row. The pickle is read as data: none of its objects is ever built.
    """

    Options = CifarOptions
    row_shape = (3, 32, 32)

    def __init__(self, card: DatasetCard, data_root: Path | None) -> None:
        super().__init__(card, data_root)
        self._release = _RELEASES[self.options.split]

    def fits(self, folder: Path) -> bool:
        split, release = self.options.split, self._release
        versions = {split: release.names_file, f"{split}.bin": release.text_names}
        return any(is_file(folder / batch) and is_file(folder / names) for batch, names in versions.items())

    def walk(self, condition: Condition) -> Survey:
        try:
            return Survey(numbered_entries("test", self._arrays[1]))
        except WrongArray as error:
            return Survey(problems=[str(error)])

    def row(self, sample_id: str) -> NDArray[np.uint8]:
        images = self._arrays[0]
        row: NDArray[np.uint8] = images[row_number(sample_id, len(images))]
        return row

    def files(self, condition: Condition, entries: Sequence[Entry]) -> list[Path]:
        return [self._batch]

    @property
    def _batch(self) -> Path:
        plain = self.place / self.options.split
        return plain if is_file(plain) else plain.with_name(plain.name + ".bin")

    @cached_property
    def _arrays(self) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """Read images ``(N, 3, 32, 32)`` as stored in the file, and labels ``(N,)``."""
        path, release = self._batch, self._release
        if not is_file(path):
            raise WrongArray(f"{path.with_suffix('')} is missing; to get it: {self.card.get}")
        binary = path.suffix == ".bin"
        if binary:
            rows, labels = _read_binary_batch(path, release.label_bytes)
        else:
            rows, labels = _read_pickled_batch(path, release.labels_key)
        check_labels(path, labels, len(self.class_list()))
        names_file = path.with_name(release.text_names if binary else release.names_file)
        names = _read_text_names(names_file) if binary else _read_pickled_names(names_file, release.names_key)
        self._check_names(names_file, names)
        return rows.reshape(-1, 3, 32, 32), labels

    def _check_names(self, path: Path, names: Sequence[str]) -> None:
        """Refuse a tree with other classes or another order: labels would not mean what the card states."""
        for label, (found, name) in enumerate(zip(names, self.class_list().names, strict=False)):
            if found.replace("_", " ") != name:
                raise WrongArray(f"{path} calls class {label} {found!r}, expected {name!r}; is this another data set?")
        if len(names) != len(self.class_list()):
            raise WrongArray(f"{path} names {len(names)} classes, expected {len(self.class_list())}")


def _read_pickled_batch(path: Path, labels_key: bytes) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    batch = _read_dictionary(path)
    data, labels = batch.get(b"data"), batch.get(labels_key)
    if not isinstance(data, np.ndarray) or not isinstance(labels, list):
        raise WrongArray(f"{path} has no data or no {labels_key.decode()}; unpack it again")
    if data.ndim != 2 or data.shape[1] != PIXELS or len(data) != len(labels):
        raise WrongArray(f"{path} has data {data.shape} for {len(labels)} labels, expected a row of {PIXELS} per label")
    if not all(type(label) is int and 0 <= label < 2**31 for label in labels):
        raise WrongArray(f"{path} has labels that are not integers; unpack it again")
    return data, np.array(labels, dtype=np.int64)


def _read_binary_batch(path: Path, label_bytes: int) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    values = np.frombuffer(read_stored(path).content, dtype=np.uint8)
    if not values.size or values.size % (label_bytes + PIXELS):
        raise WrongArray(
            f"{path} has {values.size:,} bytes, not a multiple of {label_bytes + PIXELS:,}; unpack it again"
        )
    rows = values.reshape(-1, label_bytes + PIXELS)
    return rows[:, label_bytes:], rows[:, label_bytes - 1]


def _read_pickled_names(path: Path, key: bytes) -> list[str]:
    names = _read_dictionary(path).get(key)
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise WrongArray(f"{path} has no {key.decode()}; unpack it again")
    return [name.decode("ascii", errors="replace") for name in names]


def _read_text_names(path: Path) -> list[str]:
    return read_stored(path).content.decode("ascii", errors="replace").split()


def _read_dictionary(path: Path) -> dict[Any, Any]:
    try:
        content = read_pickle(path)
    except ValueError as error:
        raise WrongArray(str(error)) from None
    if not isinstance(content, dict):
        raise WrongArray(f"{path} does not contain a dictionary; unpack it again")
    return content
