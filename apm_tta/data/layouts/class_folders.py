"""A folder a class, named as the card's class list names it: ImageNet's validation images, -A, -R, -Sketch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from apm_tta.configuration import Configuration
from apm_tta.data.layouts.base import LAYOUTS, Entry, Layout, O, Survey
from apm_tta.data.layouts.images import circle_problems, count, is_image_name, listing, read_image, some
from apm_tta.data.sample import Condition, ReadImage


def walk_classes(place: Path, folders: Sequence[tuple[Path, int]]) -> Survey:
    """Find the images of class folders, class by class, those of one class in the order of their names.

    Args:
        place: what ids are paths below.
        folders: of the classes, each with its label.
    """
    found, empty = Survey(), []
    for folder, label in folders:
        inner, files, circles = listing(folder)
        found.problems += circle_problems(folder, circles)
        names = [name for name in files if is_image_name(name)]
        start = folder.relative_to(place).as_posix()
        found.entries += [Entry(f"{start}/{name}", label) for name in names]
        if not names:
            empty.append(f"{folder.name} (it has a folder {inner[0]})" if inner else folder.name)
    if empty:
        above = folders[0][0].parent
        found.problems.append(f"{above} has {count(len(empty), 'class folder')} without an image: {some(empty)}")
    return found


def folder_problems(place: Path, expected: Sequence[str], found: Sequence[str], partial: bool = False) -> list[str]:
    """Say in a line each which class folders are missing and which are surplus."""
    missing, surplus = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    there = f"{place} has {count(len(found), 'class folder')}, expected {len(expected):,}"
    problems = []
    if missing and not partial:
        problems.append(f"{there}: missing {some(missing)}")
    if surplus:
        problems.append(f"{there}: surplus {some(surplus)}" if not partial else f"{place} has no class {some(surplus)}")
    return problems


class LabelledFoldersLayout(Layout[O]):
    """``class folder/image``, however a folder says its class: what the layouts of one folder a class share."""

    def fits(self, folder: Path) -> bool:
        folders, files, _ = listing(folder)
        return bool(set(folders) & set(self.class_list().folders)) or (not folders and any(map(is_image_name, files)))

    def matches(self, folder: Path) -> bool:
        found, expected = set(listing(folder)[0]), set(self.class_list().folders)
        return bool(found) and (found <= expected if self.partial else found == expected)

    def walk(self, condition: Condition) -> Survey:
        place = self.place
        folders, files, circles = listing(place)
        images = [name for name in files if is_image_name(name)]
        problems = circle_problems(place, circles)
        if images and not folders:
            number = count(len(images), "image")
            return Survey(
                problems=[*problems, f"{place} has {number} in one flat folder ({images[0]}); {self._sort_them}"]
            )
        labelled, wrong = self.labelled(place, [*folders, *circles])
        found = walk_classes(place, [(folder, label) for folder, label in labelled if folder.name not in circles])
        found.problems[:0] = problems + wrong
        return found

    def labelled(self, place: Path, folders: Sequence[str]) -> tuple[list[tuple[Path, int]], list[str]]:
        """Return the class folders among ``folders`` in label order, each with its label; and what is wrong there."""
        expected, there = self.class_list().folders, set(folders)
        labelled = [(place / name, label) for label, name in enumerate(expected) if name in there]
        return labelled, folder_problems(place, expected, folders, self.partial)

    def read(self, sample_id: str) -> ReadImage:
        return read_image(self.place / sample_id)

    @property
    def _sort_them(self) -> str:
        return f"sort them into one folder a class, such as {self.class_list().folders[0]}"


class ClassFoldersOptions(Configuration):
    """How much of the tree there has to be.

    Attributes:
        partial: whether some of the class folders are enough.
    """

    partial: bool = False


@LAYOUTS.register("class-folders")
class ClassFoldersLayout(LabelledFoldersLayout[ClassFoldersOptions]):
    """``class folder/image``, the folders named as in the class list."""

    Options = ClassFoldersOptions

    @property
    def partial(self) -> bool:
        return self.options.partial

    def note(self) -> str:
        if not self.partial:
            return ""
        there = set(listing(self.place)[0]) & set(self.class_list().folders)
        return f"{len(there):,} of the {len(self.class_list()):,} classes, all of which can be predicted"
