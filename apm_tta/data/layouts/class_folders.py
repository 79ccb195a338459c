"""One folder per class, named as in the card's class list: ImageNet's validation images, -A, -R, -Sketch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from apm_tta.configuration import Configuration
from apm_tta.data.archives import is_archive_name
from apm_tta.data.class_lists import ClassList
from apm_tta.data.files import link_problems, list_folder
from apm_tta.data.files.output_folders import is_output
from apm_tta.data.image_files.names import is_image_name
from apm_tta.data.layouts.base import LAYOUTS, Entry, Layout, O, Survey
from apm_tta.data.sample import Condition
from apm_tta.wording import first_few, pluralise


def list_tree(place: Path) -> tuple[list[str], list[str], list[str]]:
    """List a folder of class folders as ``list_folder`` does, without the folders that this program has written.

    ``Unused.add_passed_over`` counts what lies in these.

    Raises:
        UserError: when it cannot be read.
    """
    folders, files, bad_links = list_folder(place)
    return [name for name in folders if not is_output(place / name)], files, bad_links


def walk_classes(place: Path, folders: Sequence[tuple[Path, int]]) -> Survey:
    """Find the images of class folders, class by class, and within a class in the order of their names.

    Args:
        place: the folder that ids are paths below.
        folders: the class folders, each with its label.
    """
    found, empty = Survey(), []
    for folder, label in folders:
        inner, files, bad_links = list_folder(folder)
        found.problems += link_problems(folder, bad_links)
        names = [name for name in files if is_image_name(name)]
        start = folder.relative_to(place).as_posix()
        found.entries += [Entry(f"{start}/{name}", label) for name in names]
        if len(names) < len(files):
            found.unused.add_by_suffix(start, (name for name in files if not is_image_name(name)))
        found.unused.add_below(place, folder)
        if not names:
            empty.append(f"{folder.name} (it has a folder {inner[0]})" if inner else folder.name)
    if empty:
        above = folders[0][0].parent
        number = pluralise(len(empty), "class folder")
        found.problems.append(f"{above} has {number} without an image: {first_few(empty)}")
    return found


def folder_problems(place: Path, expected: Sequence[str], found: Sequence[str], partial: bool = False) -> list[str]:
    """State in one line which class folders are missing and which are surplus."""
    missing, surplus = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    counted = f"{place} has {pluralise(len(found), 'class folder')}, expected {len(expected):,}"
    if partial:
        return [f"{place} has folders that are not a class: {first_few(surplus)}"] if surplus else []
    both = {"missing": missing, "surplus": surplus}
    differing = [f"{which} {first_few(names)}" for which, names in both.items() if names]
    return [f"{counted}: {', '.join(differing)}"] if differing else []


class LabelledFoldersLayout(Layout[O]):
    """The common part of layouts ``class folder/image``, however a folder states its class."""

    side_files: ClassVar[tuple[str, ...]] = ()
    """Files beside the class folders that the layout reads."""

    def fits(self, folder: Path) -> bool:
        folders, files, _ = list_tree(folder)
        return bool(set(folders) & set(self.class_list().folders)) or (not folders and any(map(is_image_name, files)))

    def matches(self, folder: Path) -> bool:
        found, expected = set(list_tree(folder)[0]), set(self.class_list().folders)
        return bool(found) and (found <= expected if self.partial else found == expected)

    def walk(self, condition: Condition) -> Survey:
        place = self.place
        folders, files, bad_links = list_tree(place)
        images = [name for name in files if is_image_name(name)]
        problems = link_problems(place, bad_links)
        if images and not folders:
            number = pluralise(len(images), "image")
            return Survey(
                problems=[*problems, f"{place} has {number} in one flat folder ({images[0]}); {self._sorting_advice}"]
            )
        classes = [folder.name for folder, _ in self.label_folders(place, bad_links)[0]]  # in whose place is a bad link
        labelled, wrong = self.label_folders(place, [*folders, *classes])
        found = walk_classes(place, [(folder, label) for folder, label in labelled if folder.name not in bad_links])
        found.problems[:0] = problems + wrong
        beside = [name for name in files if name not in self.side_files and not is_archive_name(name)]
        found.unused.add("beside the class folders", beside)
        found.unused.add_passed_over(place)
        return found

    def label_folders(self, place: Path, folders: Sequence[str]) -> tuple[list[tuple[Path, int]], list[str]]:
        """Return the class folders among ``folders`` in label order, each with its label; and the problems found."""
        expected, found = self.class_list().folders, set(folders)
        labelled = [(place / name, label) for label, name in enumerate(expected) if name in found]
        return labelled, folder_problems(place, expected, folders, self.partial)

    def folder_names(self, classes: ClassList) -> tuple[str, ...] | None:
        return classes.folders

    @property
    def _sorting_advice(self) -> str:
        return f"sort them into one folder per class, such as {self.class_list().folders[0]}"


class ClassFoldersOptions(Configuration):
    """How much of the tree has to exist.

    Attributes:
        partial: whether some of the class folders are enough.
    """

    partial: bool = False


@LAYOUTS.register("class-folders")
class ClassFoldersLayout(LabelledFoldersLayout[ClassFoldersOptions]):
    """A tree ``class folder/image`` whose folders are named as in the class list."""

    Options = ClassFoldersOptions

    @property
    def partial(self) -> bool:
        return self.options.partial

    def note(self) -> str:
        if not self.partial:
            return ""
        present = set(list_tree(self.place)[0]) & set(self.class_list().folders)
        return f"{len(present):,} of the {len(self.class_list()):,} classes, all of which can be predicted"
