"""A tree ``corruption/severity/class folder/image``, as ImageNet-C is released."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from apm_tta.data.decoding import PUBLISHED
from apm_tta.data.files import is_folder, link_problems, list_folder
from apm_tta.data.image_files import UnreadImage
from apm_tta.data.image_files.names import is_image_name
from apm_tta.data.layouts.base import LAYOUTS, Layout, NoOptions, Survey
from apm_tta.data.layouts.class_folders import folder_problems, walk_classes
from apm_tta.data.layouts.images import read_image
from apm_tta.data.sample import Condition, ReadImage, StoredImage
from apm_tta.errors import UserError
from apm_tta.wording import first_few

SEVERITIES = tuple("12345")


@LAYOUTS.register("corruption-tree")
class CorruptionTreeLayout(Layout[NoOptions]):
    """A tree of which only the requested conditions are walked: the whole tree has 4.75 million images."""

    stores_corruptions = True

    def fits(self, folder: Path) -> bool:
        return any(is_folder(folder / name) for name in self.card.stored_corruptions)

    def matches(self, folder: Path) -> bool:
        """Return whether the classes and the image size of one condition are the card's.

        Tiny-ImageNet-C has ImageNet-C's corruptions, and 200 of its classes.
        """
        places = (folder / name / severity for name in self.card.stored_corruptions for severity in SEVERITIES)
        if (first := next(filter(is_folder, places), None)) is None or not (names := list_folder(first)[0]):
            return False
        images = [name for name in list_folder(first / names[0])[1] if is_image_name(name)]
        known = set(names) <= set(self.class_list().folders)
        return known and bool(images) and self._has_side(first / names[0] / images[0])

    def walk(self, condition: Condition) -> Survey:
        if condition.clean:
            raise UserError(f"{self.card.name} has no clean images; name at least one corruption", exit_code=2)
        folder = self.place / condition.corruption / str(condition.severity)
        if not is_folder(folder):
            card = self.card
            return Survey(problems=[f"{folder} is missing; expected tree: {card.tree}; to get it: {card.get}"])
        names, _, bad_links = list_folder(folder)
        expected = self.class_list().folders
        present = set(names)
        found = walk_classes(self.place, [(folder / name, i) for i, name in enumerate(expected) if name in present])
        found.folder = folder
        found.problems[:0] = link_problems(folder, bad_links) + folder_problems(folder, expected, [*names, *bad_links])
        return found

    def decode(self, sample_id: str, stored: StoredImage) -> ReadImage:
        """Decode an image; one that has not the card's size is not the release's, which is remarked."""
        found, side = super().decode(sample_id, stored), self.card.side
        if side is None or found.image.size == (side, side):
            return found
        return replace(found, remarks=(*found.remarks, f"not of {side} x {side} pixels, as the release is"))

    def conditions(self) -> list[Condition]:
        return [
            Condition(name, int(severity))
            for name in self.card.stored_corruptions
            for severity in SEVERITIES
            if is_folder(self.place / name / severity)
        ]

    def tree_problems(self) -> list[str]:
        """Name missing corruptions, surplus folders, and severities that are not 1 to 5."""
        card = self.card
        folders, _, bad_links = list_folder(self.place)
        problems = link_problems(self.place, bad_links)
        needed = [name for name in card.stored_corruptions if name not in card.extra_corruptions]
        if missing := [name for name in needed if not is_folder(self.place / name)]:
            problems.append(f"{self.place} lacks the corruptions {first_few(missing)}; unpack what is missing")
        if surplus := [name for name in folders if name not in card.stored_corruptions]:
            problems.append(f"{self.place} has folders that are not a corruption: {first_few(surplus)}; move them away")
        for name in card.stored_corruptions:
            if is_folder(self.place / name):
                severities = list_folder(self.place / name)[0]
                if wrong := sorted(set(severities) ^ set(SEVERITIES)):
                    found = f"{self.place / name} has the severities {first_few(severities)}, expected 1 to 5"
                    problems.append(f"{found}; missing or surplus: {first_few(wrong)}")
        return problems

    def _has_side(self, image: Path) -> bool:
        """Return whether an image is a square of the card's size; true where that is not known."""
        try:
            return self.card.side is None or read_image(image, PUBLISHED).image.size == (self.card.side,) * 2
        except UnreadImage:
            return False
