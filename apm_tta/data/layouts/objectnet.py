"""ObjectNet as released, restricted to the classes that it shares with ImageNet."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from apm_tta.data.class_lists import ClassList
from apm_tta.data.files import is_file, is_folder, link_problems, list_folder
from apm_tta.data.image_files import DamagedImage, MissingImage
from apm_tta.data.layouts.base import LAYOUTS, Layout, NoOptions, Survey
from apm_tta.data.layouts.class_folders import walk_classes
from apm_tta.data.layouts.images import read_stored
from apm_tta.data.sample import Condition, ReadImage, StoredImage
from apm_tta.errors import UserError
from apm_tta.wording import first_few

FOLDERS = "mappings/folder_to_objectnet_label.json"
OVERLAP = "mappings/objectnet_to_imagenet_1k.json"
BORDER = 2
"""Pixels cropped at each side: the authors draw a red border, one pixel wide, around every image and crop it."""
_Names = TypeAdapter(dict[str, str])


@LAYOUTS.register("objectnet")
class ObjectNetLayout(Layout[NoOptions]):
    """A tree ``images/folder/*.png``; of 313 folders those whose label the release maps to ImageNet, in text order.

    Class names are the release's own labels in lower case. The other folders are ignored.
    """

    def fits(self, folder: Path) -> bool:
        return is_file(folder / FOLDERS)

    def class_list(self) -> ClassList:
        return self._classes

    def walk(self, condition: Condition) -> Survey:
        images = self.place / "images"
        if not is_folder(images):
            return Survey(problems=[f"{images} is missing; expected tree: {self.card.tree}"])
        folders, _, bad_links = list_folder(images)
        expected, present = self.class_list().folders, set(folders)
        found = walk_classes(self.place, [(images / name, i) for i, name in enumerate(expected) if name in present])
        problems = link_problems(images, bad_links)
        if missing := [name for name in expected if name not in present]:
            number = f"{len(missing)} of {len(expected)} class folders"
            problems.append(f"{images} lacks {number}: missing {first_few(missing)}")
        found.problems[:0] = problems
        return found

    def decode(self, sample_id: str, stored: StoredImage) -> ReadImage:
        whole = super().decode(sample_id, stored)
        width, height = whole.image.size
        if min(width, height) <= 2 * BORDER:
            raise DamagedImage(
                f"{self.place / sample_id} is {width} x {height} pixels, nothing but border; unpack it again"
            )
        inner = whole.image.crop((BORDER, BORDER, width - BORDER, height - BORDER))
        return replace(whole, image=inner, uncropped=whole.image)

    @cached_property
    def _classes(self) -> ClassList:
        labels = self._mapping(FOLDERS)
        overlap = self._mapping(OVERLAP)
        if unknown := sorted(set(overlap) - set(labels.values())):
            raise UserError(f"{self.place / FOLDERS} has no folder for {first_few(unknown)}; unpack it again")
        folders = tuple(sorted(folder for folder, label in labels.items() if label in overlap))
        if invalid := [folder for folder in folders if "/" in folder or folder in ("", ".", "..")]:
            raise UserError(f"{self.place / FOLDERS}: {invalid[0]!r} is not a folder name; unpack it again")
        return ClassList(tuple(labels[folder].lower() for folder in folders), folders)

    def _mapping(self, name: str) -> dict[str, str]:
        path = self.place / name
        try:
            return _Names.validate_json(read_stored(path, self.patience).content)
        except MissingImage:
            raise UserError(f"{path} cannot be read (it is missing); it is part of the release") from None
        except ValidationError:
            raise UserError(f"{path} is not a JSON object of names to names; unpack it again") from None
