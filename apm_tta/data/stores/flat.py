"""One flat folder of images beside a file that states the class of each: the common part of two forms of ImageNet."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

from apm_tta.data.files import is_file, is_folder, link_problems, list_folder
from apm_tta.data.image_files import MissingImage
from apm_tta.data.image_files.names import is_image_name
from apm_tta.data.layouts.images import read_stored
from apm_tta.data.sample import Condition, StoredImage
from apm_tta.data.stores.base import Contents, Item, Store
from apm_tta.errors import UserError
from apm_tta.wording import first_few, pluralise

IMAGE_FOLDERS = ("val", "", "ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val", "ILSVRC2012_img_val")
"""Where the images may lie, below the folder that the store is in."""


class FlatStore(Store):
    """Images in one folder; a file, ``list_files``, states their class folders, which are not there."""

    list_files: ClassVar[tuple[str, ...]]
    """Where that file may lie, below the folder that the store is in."""

    @classmethod
    def lies_in(cls, folder: Path) -> bool:
        try:
            return cls.list_in(folder) is not None and _images_in(folder) is not None
        except UserError:  # of a folder that cannot be read
            return False

    @classmethod
    def list_in(cls, folder: Path) -> str | None:
        """Return the file that states the classes, below ``folder``; None where there is none."""
        return next((name for name in cls.list_files if is_file(folder / name)), None)

    @property
    def list_file(self) -> str:
        """The file that states the classes, below ``place``."""
        found = self.list_in(self.place)
        if found is None:
            raise UserError(f"{self.place / self.list_files[0]} is missing; put it back")
        return found

    @abstractmethod
    def parse(self) -> Mapping[str, str]:
        """Read the class folder of every image, by the name of its file without suffix.

        Raises:
            UserError: when a file that states them is missing or wrong.
        """

    def contents(self, condition: Condition) -> Contents:
        folders = self.parse()
        below = _images_in(self.place)
        if below is None:
            raise UserError(f"{self.place} has no longer one flat folder of images; put it back")
        _, files, bad_links = list_folder(self.place / below)
        found = Contents(problems=link_problems(self.place / below, bad_links))
        names = [name for name in files if is_image_name(name)]
        stems = [PurePosixPath(name).stem for name in names]
        if unlisted := [name for name, stem in zip(names, stems, strict=True) if stem not in folders]:
            number = pluralise(len(unlisted), "image")
            found.problems.append(
                f"{self.place / below} has {number} that {self.list_file} does not list: {first_few(unlisted)}"
            )
        missing = sorted(folders.keys() - set(stems))
        if missing and not self.tree.partial:
            number = pluralise(len(missing), "image")
            found.problems.append(
                f"{self.place / below} lacks {number} that {self.list_file} lists: {first_few(missing)}"
            )
        if not found.problems:
            found.items = [
                Item((PurePosixPath(below) / name).as_posix(), folder=folders[stem], name=name)
                for name, stem in zip(names, stems, strict=True)
            ]
        return found

    def stored(self, key: str) -> StoredImage:
        return read_stored(self.place / key, self.tree.patience)

    def file_of(self, key: str) -> Path:
        return self.place / key

    def folders_read(self, keys: Sequence[str]) -> Mapping[Path, Path]:
        return {self.file_of(key).parent: self.file_of(key) for key in keys[:1]}

    def read_text(self, name: str) -> str:
        """Read the file ``name`` below ``place``.

        Raises:
            UserError: when it is missing, not text, or cannot be reached.
        """
        path = self.place / name
        try:
            return read_stored(path, self.tree.patience).content.decode("utf-8-sig")
        except MissingImage:
            raise UserError(f"{path} is missing; put it back") from None
        except UnicodeDecodeError:
            raise UserError(f"{path} is not UTF-8 text; download it again") from None


def _images_in(folder: Path) -> str | None:
    """Return where the images lie below ``folder``: in a folder without folders; None for nowhere."""
    for below in IMAGE_FOLDERS:
        place = folder / below
        if not is_folder(place):
            continue
        folders, files, _ = list_folder(place)
        if any(map(is_image_name, files)) and (not folders or not below):
            return below
    return None
