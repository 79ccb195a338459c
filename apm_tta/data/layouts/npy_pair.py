"""One array of images and one of labels: CIFAR-10.1."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from apm_tta.configuration import Configuration
from apm_tta.data.files import is_file
from apm_tta.data.layouts.arrays import (
    IMAGE_SHAPE,
    ArrayLayout,
    NpyFile,
    WrongArray,
    check_labels,
    check_shape,
    numbered_entries,
    open_npy,
    row_number,
)
from apm_tta.data.layouts.base import LAYOUTS, Entry, Survey
from apm_tta.data.sample import Condition


class NpyPairOptions(Configuration):
    """The two files, below the folder where the tree starts.

    Attributes:
        data: file of the images, ``(N, 32, 32, 3)``.
        labels: file of the labels, ``(N,)``.
    """

    data: str
    labels: str


@LAYOUTS.register("npy-pair")
class NpyPairLayout(ArrayLayout[NpyPairOptions]):
    """A tree with the files that the options ``data`` and ``labels`` name."""

    Options = NpyPairOptions

    def fits(self, folder: Path) -> bool:
        return is_file(folder / self.options.data)

    def walk(self, condition: Condition) -> Survey:
        path = self.place / self.options.labels
        try:
            labels = open_npy(path, self.card.get, self.patience).whole()
            check_labels(path, labels, len(self.class_list()))
            check_shape(
                self._data, self._images, (len(labels), *IMAGE_SHAPE), f"an image for each label of {path.name}"
            )
        except WrongArray as error:
            return Survey(problems=[str(error)])
        return Survey(numbered_entries("test", labels))

    def row(self, sample_id: str) -> NDArray[Any]:
        row: NDArray[Any] = self._images.row(row_number(sample_id, len(self._images)))
        return row

    def files(self, condition: Condition, entries: Sequence[Entry]) -> list[Path]:
        return [self._data, self.place / self.options.labels]

    @property
    def _data(self) -> Path:
        return self.place / self.options.data

    @cached_property
    def _images(self) -> NpyFile:
        return open_npy(self._data, self.card.get, self.patience)
