"""Images listed in a text file of the release: the common part of CoOp's split files and FGVC-Aircraft."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path, PurePosixPath

from apm_tta.data.class_lists import ClassList
from apm_tta.data.files import is_file, is_folder, list_folder
from apm_tta.data.image_files import MissingImage
from apm_tta.data.layouts.base import Entry, Layout, O, Survey
from apm_tta.data.layouts.images import read_stored
from apm_tta.data.normal_forms import path_as_found
from apm_tta.data.sample import Condition
from apm_tta.errors import UserError
from apm_tta.wording import first_few, pluralise


class ListedLayout(Layout[O]):
    """A folder of images with files that state which of them are test images, and the class of each."""

    @property
    @abstractmethod
    def list_file(self) -> str:
        """The file that lists the test images, below the folder where the tree starts."""

    @abstractmethod
    def parse(self) -> tuple[ClassList, list[Entry]]:
        """Read the classes and the test images; an entry's id is the image's path below the start of the tree.

        Raises:
            UserError: when a file that states them is missing or wrong.
        """

    def fits(self, folder: Path) -> bool:
        return is_file(folder / self.list_file)

    def class_list(self) -> ClassList:
        return self._parsed[0]

    def walk(self, condition: Condition) -> Survey:
        entries = self._parsed[1]
        existing = self._existing_ids(entries)
        if any(entry.id not in existing and not entry.id.isascii() for entry in entries):
            names = cache(self._names)
            entries = [
                entry if entry.id in existing else replace(entry, id=path_as_found(entry.id, names))
                for entry in entries
            ]
            existing = self._existing_ids(entries)
        missing = sorted({entry.id for entry in entries} - existing)
        if not missing:
            return Survey(list(entries))
        number = pluralise(len(missing), "image")
        return Survey(problems=[f"{self.place} lacks {number} that {self.list_file} lists: {first_few(missing)}"])

    def read_text(self, name: str) -> str:
        """Read the file ``name`` below the folder where the tree starts.

        Raises:
            UserError: when it is missing, not text, or cannot be reached.
        """
        path = self.place / name
        try:
            return read_stored(path, self.patience).content.decode("utf-8-sig")
        except (MissingImage, UnicodeDecodeError) as error:
            why = "it is missing" if isinstance(error, MissingImage) else "it is not UTF-8 text"
            raise UserError(f"{path} cannot be read ({why}); to get it: {self.card.get}") from None

    def check_inside(self, path: str, file: str) -> str:
        """Return ``path``, which is listed in ``file``, after checking that it stays below the image folder.

        Raises:
            UserError: when it leads elsewhere.
        """
        parts = PurePosixPath(path)
        if not path or parts.is_absolute() or ".." in parts.parts:
            raise UserError(
                f"{self.place / file}: the path {path!r} leads out of the image folder; download the file again"
            )
        return parts.as_posix()

    @cached_property
    def _parsed(self) -> tuple[ClassList, list[Entry]]:
        return self.parse()

    def _names(self, folder: str) -> list[str]:
        place = self.place / folder
        return [*list_folder(place)[0], *list_folder(place)[1]] if is_folder(place) else []

    def _existing_ids(self, entries: Sequence[Entry]) -> set[str]:
        """Return the ids of files that exist, listing each folder once."""
        folders = {entry.id.rpartition("/")[0] for entry in entries}
        return {
            f"{folder}/{name}" if folder else name
            for folder in folders
            if is_folder(self.place / folder)
            for name in list_folder(self.place / folder)[1]
        }
