"""Any image folder, with a class list."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from apm_tta.data.class_lists import ClassList
from apm_tta.data.layouts.base import LAYOUTS, NoOptions
from apm_tta.data.layouts.class_folders import LabelledFoldersLayout, folder_problems
from apm_tta.data.layouts.images import listing
from apm_tta.errors import UserError

CLASSES_FILE = "classes.txt"


@LAYOUTS.register("folder")
class FolderLayout(LabelledFoldersLayout[NoOptions]):
    """``class folder/image``, and beside the folders ``classes.txt``: one line a class in label order.

    A line is the folder's name, or the folder's name, a tab, and the class name for prompts. Without that file the
    folders in the order of their names are the classes. Underscores in a name are spaces in prompts.
    """

    open_ended = True

    def fits(self, folder: Path) -> bool:
        return bool(listing(folder)[0])

    def class_list(self) -> ClassList:
        return self._classes

    def labelled(self, place: Path, folders: Sequence[str]) -> tuple[list[tuple[Path, int]], list[str]]:
        expected, there = self.class_list().folders, set(folders)
        labelled = [(place / name, label) for label, name in enumerate(expected) if name in there]
        return labelled, folder_problems(place, expected, folders)

    def note(self) -> str:
        order = CLASSES_FILE if self._file.is_file() else "its folders in the order of their names"
        return f"{self.place.resolve().name}; classes: {order}"

    @property
    def _file(self) -> Path:
        return self.place / CLASSES_FILE

    @cached_property
    def _classes(self) -> ClassList:
        if self._file.exists():
            return self._listed()
        folders = tuple(listing(self.place)[0])
        if not folders:
            raise UserError(f"{self.place} has no class folders; expected tree: {self.card.tree}")
        if all(name.isdigit() for name in folders):
            raise UserError(
                f"the class folders of {self.place} are integers, whose order as text (0, 1, 10, 2) is not that of "
                f"numbers; say it in {self._file}: one line a class in label order, 'folder' or 'folder<TAB>name'"
            )
        return ClassList(tuple(name.replace("_", " ") for name in folders), folders)

    def _listed(self) -> ClassList:
        path = self._file
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError):
            raise UserError(f"{path} is no UTF-8 text; write one line a class: 'folder' or 'folder<TAB>name'") from None
        pairs = [(folder.strip(), name.strip()) for folder, _, name in (line.partition("\t") for line in lines)]
        folders = tuple(folder for folder, _ in pairs)
        if not folders:
            raise UserError(f"{path} names no class; write one line a class: 'folder' or 'folder<TAB>name'")
        for number, folder in enumerate(folders, 1):
            if folder in folders[: number - 1]:
                raise UserError(f"{path}, class {number}: {folder!r} stands twice")
            if "/" in folder or folder in (".", ".."):
                raise UserError(f"{path}, class {number}: {folder!r} is no name of a folder beside this file")
        integers = all(name.isdigit() for name in folders)
        if integers and folders == tuple(sorted(folders)) != tuple(sorted(folders, key=int)):
            raise UserError(
                f"{path} lists integer folders in the order of text ({', '.join(folders[:4])}, ...), not of numbers; "
                "sort its lines as numbers"
            )
        return ClassList(tuple((name or folder).replace("_", " ") for folder, name in pairs), folders)
