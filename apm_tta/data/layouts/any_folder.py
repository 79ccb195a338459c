"""Any image folder, with a class list."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from apm_tta.data.class_lists import ClassList
from apm_tta.data.class_names import are_synsets, equal_names, wordless_names
from apm_tta.data.files import is_file
from apm_tta.data.layouts.base import LAYOUTS, NoOptions, Survey
from apm_tta.data.layouts.class_folders import LabelledFoldersLayout, folder_problems, list_tree
from apm_tta.data.layouts.images import read_stored
from apm_tta.data.normal_forms import as_found
from apm_tta.data.sample import Condition
from apm_tta.errors import UserError
from apm_tta.wording import first_few, pluralise

CLASSES_FILE = "classes.txt"


@LAYOUTS.register("folder")
class FolderLayout(LabelledFoldersLayout[NoOptions]):
    """A tree ``class folder/image`` with ``classes.txt`` beside the folders: one line per class in label order.

    A line is the folder's name, or the folder's name, a tab, and the class name for prompts. Without that file the
    classes are the folders in the order of their names. Underscores in a name become spaces in prompts.
    """

    open_ended = True
    side_files = (CLASSES_FILE,)

    def fits(self, folder: Path) -> bool:
        return bool(list_tree(folder)[0])

    def class_list(self) -> ClassList:
        return self._classes

    def walk(self, condition: Condition) -> Survey:
        found = super().walk(condition)
        if wordless := wordless_names(self._classes.names):
            number = pluralise(len(wordless), "class is named by an identifier", "classes are named by identifiers")
            synsets = "for ImageNet's synsets use imagenet-part, or " if are_synsets(wordless) else ""
            found.doubts.append(
                f"{number}, of which no prompt can be made ({first_few(wordless)}): {synsets}write the class names "
                f"into {self._class_file}, a line 'folder<TAB>name' per class"
            )
        return found

    def label_folders(self, place: Path, folders: Sequence[str]) -> tuple[list[tuple[Path, int]], list[str]]:
        expected, found = self.class_list().folders, set(folders)
        labelled = [(place / name, label) for label, name in enumerate(expected) if name in found]
        return labelled, folder_problems(place, expected, folders)

    def note(self) -> str:
        order = CLASSES_FILE if is_file(self._class_file) else "its folders in the order of their names"
        return f"{self.place.resolve().name}; classes: {order}"

    @property
    def _class_file(self) -> Path:
        return self.place / CLASSES_FILE

    @cached_property
    def _classes(self) -> ClassList:
        """Read the classes.

        Raises:
            UserError: when the tree does not state them, or gives two of them one name.
        """
        classes = self._read_class_list() if is_file(self._class_file) else self._listed_folders()
        if pairs := equal_names(classes.names):
            one, other = (f"{classes.folders[label]} ({classes.names[label]})" for label in pairs[0])
            unlistable = [classes.folders[label] for label in pairs[0] if not _can_be_listed(classes.folders[label])]
            advice = f"give each its own in {self._class_file}, a line 'folder<TAB>name' per class"
            if unlistable:
                advice = f"rename the folder {unlistable[0]!r}, or remove it if its images are the other's"
            raise UserError(
                f"{self.place} has two classes with the same name, {one} and {other}, of which the second could never "
                f"be predicted; {advice}"
            )
        return classes

    def _listed_folders(self) -> ClassList:
        folders = tuple(list_tree(self.place)[0])
        if not folders:
            raise UserError(f"{self.place} has no class folders; expected tree: {self.card.tree}")
        if all(name.isdecimal() for name in folders):
            raise UserError(
                f"the class folders of {self.place} are integers, whose order as text (0, 1, 10, 2) is not their "
                f"numerical order; list them in {self._class_file}: one line per class in label order, 'folder' or "
                "'folder<TAB>name'"
            )
        return ClassList(tuple(name.replace("_", " ") for name in folders), folders)

    def _read_class_list(self) -> ClassList:
        path = self._class_file
        try:
            text = read_stored(path, self.patience).content.decode("utf-8-sig")
            lines = [line.strip() for line in text.splitlines() if line.strip()]
        except UnicodeDecodeError:
            raise UserError(
                f"{path} is not UTF-8 text; write one line per class: 'folder' or 'folder<TAB>name'"
            ) from None
        pairs = [(folder.strip(), name.strip()) for folder, _, name in (line.partition("\t") for line in lines)]
        folders = as_found([folder for folder, _ in pairs], list_tree(self.place)[0])
        if not folders:
            raise UserError(f"{path} names no class; write one line per class: 'folder' or 'folder<TAB>name'")
        for number, folder in enumerate(folders, 1):
            if folder in folders[: number - 1]:
                raise UserError(f"{path}, class {number}: {folder!r} appears twice")
            if "\t" in pairs[number - 1][1]:
                raise UserError(f"{path}, class {number}: more than one tab; write 'folder' or 'folder<TAB>name'")
            if "/" in folder or folder in (".", ".."):
                raise UserError(f"{path}, class {number}: {folder!r} is not the name of a folder beside this file")
        integers = all(name.isdecimal() for name in folders)
        if integers and folders == tuple(sorted(folders)) != tuple(sorted(folders, key=int)):
            raise UserError(
                f"{path} lists integer folders in text order ({', '.join(folders[:4])}, ...), not in numerical order; "
                "sort its lines numerically"
            )
        names = (name or folder for folder, (_, name) in zip(folders, pairs, strict=True))
        return ClassList(tuple(name.replace("_", " ") for name in names), folders)


def _can_be_listed(folder: str) -> bool:
    """Return whether a line of ``classes.txt`` can name a folder: it is stripped, and a tab ends the name."""
    return folder == folder.strip() and "\t" not in folder and len(folder.splitlines()) == 1
