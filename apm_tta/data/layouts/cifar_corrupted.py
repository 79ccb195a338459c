"""CIFAR-10-C and CIFAR-100-C as released: one array per corruption, the severities one after another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from apm_tta.data.cards import DatasetCard
from apm_tta.data.files import is_file, list_folder
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
from apm_tta.data.layouts.base import LAYOUTS, Entry, NoOptions, Survey
from apm_tta.data.sample import Condition
from apm_tta.errors import UserError
from apm_tta.wording import first_few

SEVERITIES = 5
LABELS = "labels.npy"


@LAYOUTS.register("cifar-corrupted")
class CifarCorruptedLayout(ArrayLayout[NoOptions]):
    """Arrays ``CORRUPTION.npy`` and ``labels.npy``: with n images per severity, severity s is rows n (s - 1) to n s."""

    stores_corruptions = True

    def __init__(self, card: DatasetCard, data_root: Path | None) -> None:
        super().__init__(card, data_root)
        self._opened: dict[str, NpyFile] = {}

    def fits(self, folder: Path) -> bool:
        files = set(list_folder(folder)[1])
        return LABELS in files and any(f"{name}.npy" in files for name in self.card.stored_corruptions)

    def matches(self, folder: Path) -> bool:
        if not self.fits(folder):
            return False
        try:
            labels = open_npy(folder / LABELS, self.card.get, self.patience).whole()
            check_labels(folder / LABELS, labels, len(self.class_list()))
        except WrongArray:
            return False
        return labels.size > 0 and int(labels.max()) == len(self.class_list()) - 1

    def walk(self, condition: Condition) -> Survey:
        if condition.clean:
            raise UserError(f"{self.card.name} has no clean images; name at least one corruption", exit_code=2)
        try:
            labels, images = self._labels(), self._images(condition.corruption)
        except WrongArray as error:
            return Survey(problems=[str(error)])
        images_per_severity = len(images) // SEVERITIES
        first = images_per_severity * (condition.severity - 1)
        prefix = f"{condition.corruption}/{condition.severity}"
        return Survey(numbered_entries(prefix, labels[first : first + images_per_severity]))

    def row(self, sample_id: str) -> NDArray[Any]:
        corruption, severity, _ = sample_id.split("/")
        images = self._images(corruption)
        images_per_severity = len(images) // SEVERITIES
        first = images_per_severity * (int(severity) - 1)
        row: NDArray[Any] = images.row(first + row_number(sample_id, images_per_severity))
        return row

    def files(self, condition: Condition, entries: Sequence[Entry]) -> list[Path]:
        return [self.place / f"{condition.corruption}.npy", self.place / LABELS]

    def conditions(self) -> list[Condition]:
        present = [name for name in self.card.stored_corruptions if is_file(self.place / f"{name}.npy")]
        return [Condition(name, severity) for name in present for severity in range(1, SEVERITIES + 1)]

    def tree_problems(self) -> list[str]:
        """Name the corruptions that are missing."""
        files = set(list_folder(self.place)[1])
        needed = [name for name in self.card.stored_corruptions if name not in self.card.extra_corruptions]
        missing = [f"{name}.npy" for name in needed if f"{name}.npy" not in files]
        return [f"{self.place} has no {first_few(missing)}; unpack what is missing"] if missing else []

    def _labels(self) -> NDArray[Any]:
        path, labels = self.place / LABELS, self._open(LABELS).whole()
        check_labels(path, labels, len(self.class_list()))
        if len(labels) % SEVERITIES or (labels.reshape(SEVERITIES, -1) != labels[: len(labels) // SEVERITIES]).any():
            raise WrongArray(f"{path} does not repeat the same labels for each of the 5 severities; unpack it again")
        return labels

    def _images(self, corruption: str) -> NpyFile:
        name = f"{corruption}.npy"
        images, rows = self._open(name), len(self._open(LABELS))
        meaning = f"{rows // SEVERITIES:,} images at each of severities 1 to 5, as in {LABELS}"
        check_shape(self.place / name, images, (rows, *IMAGE_SHAPE), meaning)
        return images

    def _open(self, name: str) -> NpyFile:
        if name not in self._opened:
            self._opened[name] = open_npy(self.place / name, self.card.get, self.patience)
        return self._opened[name]
