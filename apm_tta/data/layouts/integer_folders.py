"""One folder per class, named by the label itself: ImageNet-V2."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from apm_tta.data.class_lists import ClassList
from apm_tta.data.layouts.base import LAYOUTS, NoOptions
from apm_tta.data.layouts.class_folders import LabelledFoldersLayout, folder_problems, list_tree


@LAYOUTS.register("integer-folders")
class IntegerFoldersLayout(LabelledFoldersLayout[NoOptions]):
    """A tree ``label/image``. Names are read as integers, whatever their padding: as text, 10 comes before 2."""

    def fits(self, folder: Path) -> bool:
        return any(_label(name) is not None for name in list_tree(folder)[0])

    def matches(self, folder: Path) -> bool:
        labels = [_label(name) for name in list_tree(folder)[0]]
        return None not in labels and sorted(labels) == list(range(len(self.class_list())))  # type: ignore[type-var]

    def label_folders(self, place: Path, folders: Sequence[str]) -> tuple[list[tuple[Path, int]], list[str]]:
        total = len(self.class_list())
        labels = {name: _label(name) for name in folders}
        plain = [name if label is None else str(label) for name, label in labels.items()]
        problems = folder_problems(place, [str(label) for label in range(total)], plain)
        twice = sorted({name for name in plain if plain.count(name) > 1}) if len(set(plain)) < len(plain) else []
        if twice:
            problems.append(f"{place} has two folders for the label {', '.join(twice)}; is one padded with zeros?")
        known = sorted((label, name) for name, label in labels.items() if label is not None and label < total)
        return [(place / name, label) for label, name in known], problems

    def folder_names(self, classes: ClassList) -> tuple[str, ...] | None:
        return tuple(map(str, range(len(classes))))

    @property
    def _sorting_advice(self) -> str:
        return "unpack it again: it has one folder per label, 0 to 999"


def _label(name: str) -> int | None:
    return int(name) if name.isascii() and name.isdigit() and len(name) <= 9 else None
