"""ObjectNet as it is released: the classes that it shares with ImageNet."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from apm_tta.data.class_lists import ClassList
from apm_tta.data.layouts.base import LAYOUTS, Layout, NoOptions, Survey
from apm_tta.data.layouts.class_folders import walk_classes
from apm_tta.data.layouts.images import DamagedImage, circle_problems, listing, read_image, some
from apm_tta.data.sample import Condition, ReadImage
from apm_tta.errors import UserError

FOLDERS = "mappings/folder_to_objectnet_label.json"
OVERLAP = "mappings/objectnet_to_imagenet_1k.json"
BORDER = 2
"""Pixels of the border that the authors draw around every image, red and one pixel wide, and crop before testing."""
_Names = TypeAdapter(dict[str, str])


@LAYOUTS.register("objectnet")
class ObjectNetLayout(Layout[NoOptions]):
    """``images/folder/*.png``; of 313 folders those whose label the release maps to ImageNet, in the order of text.

    Class names are the release's own labels in small letters. The other folders are not looked at.
    """

    def fits(self, folder: Path) -> bool:
        return (folder / FOLDERS).is_file()

    def class_list(self) -> ClassList:
        return self._classes

    def walk(self, condition: Condition) -> Survey:
        images = self.place / "images"
        if not images.is_dir():
            return Survey(problems=[f"{images} is missing; expected tree: {self.card.tree}"])
        folders, _, circles = listing(images)
        expected, there = self.class_list().folders, set(folders)
        found = walk_classes(self.place, [(images / name, i) for i, name in enumerate(expected) if name in there])
        problems = circle_problems(images, circles)
        if missing := [name for name in expected if name not in there]:
            problems.append(f"{images} lacks {len(missing)} of {len(expected)} class folders: missing {some(missing)}")
        found.problems[:0] = problems
        return found

    def read(self, sample_id: str) -> ReadImage:
        whole = read_image(self.place / sample_id)
        width, height = whole.image.size
        if min(width, height) <= 2 * BORDER:
            raise DamagedImage(f"{self.place / sample_id} is {width} x {height} pixels, all border; unpack it again")
        inner = whole.image.crop((BORDER, BORDER, width - BORDER, height - BORDER))
        return ReadImage(inner, whole.sha256, uncropped=whole.image)

    @cached_property
    def _classes(self) -> ClassList:
        labels = self._mapping(FOLDERS)
        overlap = self._mapping(OVERLAP)
        if lost := sorted(set(overlap) - set(labels.values())):
            raise UserError(f"{self.place / FOLDERS} has no folder for {some(lost)}; unpack it again")
        folders = tuple(sorted(folder for folder, label in labels.items() if label in overlap))
        if strange := [folder for folder in folders if "/" in folder or folder in ("", ".", "..")]:
            raise UserError(f"{self.place / FOLDERS}: {strange[0]!r} is no folder's name; unpack it again")
        return ClassList(tuple(labels[folder].lower() for folder in folders), folders)

    def _mapping(self, name: str) -> dict[str, str]:
        path = self.place / name
        try:
            return _Names.validate_json(path.read_bytes())
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); it is part of the release") from None
        except ValidationError:
            raise UserError(f"{path} is no JSON of names to names; unpack it again") from None
