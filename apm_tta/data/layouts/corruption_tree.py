"""``corruption/severity/class folder/image``, as ImageNet-C is released."""

from __future__ import annotations

from pathlib import Path

from apm_tta.data.layouts.base import LAYOUTS, Layout, NoOptions, Survey
from apm_tta.data.layouts.class_folders import folder_problems, walk_classes
from apm_tta.data.layouts.images import DamagedImage, circle_problems, is_image_name, listing, read_image, some
from apm_tta.data.sample import Condition, ReadImage
from apm_tta.errors import UserError

SEVERITIES = tuple("12345")
TINY_CLASSES, TINY_SIDE = 200, 64


@LAYOUTS.register("corruption-tree")
class CorruptionTreeLayout(Layout[NoOptions]):
    """Only the folders of the conditions that are asked for are walked: the whole tree has 4.75 million images."""

    stores_corruptions = True

    def fits(self, folder: Path) -> bool:
        return bool(set(listing(folder)[0]) & set(self.card.stored_corruptions))

    def walk(self, condition: Condition) -> Survey:
        if condition.clean:
            raise UserError(f"{self.card.name} holds no clean images; name at least one corruption", exit_code=2)
        folder = self.place / condition.corruption / str(condition.severity)
        if not folder.is_dir():
            card = self.card
            return Survey(problems=[f"{folder} is missing; expected {card.tree}; to get it: {card.get}"])
        names, _, circles = listing(folder)
        expected = self.class_list().folders
        if _is_tiny(folder, names, expected):
            what = f"{TINY_CLASSES} classes of {TINY_SIDE} x {TINY_SIDE} pixels"
            return Survey(problems=[f"{folder} has {what}: this is Tiny-ImageNet-C, which is not {self.card.title}"])
        there = set(names)
        found = walk_classes(self.place, [(folder / name, i) for i, name in enumerate(expected) if name in there])
        found.where = folder
        found.problems[:0] = circle_problems(folder, circles) + folder_problems(folder, expected, [*names, *circles])
        return found

    def read(self, sample_id: str) -> ReadImage:
        return read_image(self.place / sample_id)

    def conditions(self) -> list[Condition]:
        return [
            Condition(name, int(severity))
            for name in self.card.stored_corruptions
            for severity in SEVERITIES
            if (self.place / name / severity).is_dir()
        ]

    def outline(self) -> list[str]:
        """Name missing corruptions, surplus folders, and severities that are not 1 to 5."""
        card = self.card
        folders, _, circles = listing(self.place)
        problems = circle_problems(self.place, circles)
        needed = [name for name in card.stored_corruptions if name not in card.extra_corruptions]
        if missing := [name for name in needed if name not in folders]:
            problems.append(f"{self.place} has no folder of the corruption {some(missing)}; unpack what is missing")
        if surplus := [name for name in folders if name not in card.stored_corruptions]:
            problems.append(f"{self.place} has folders that are no corruption: {some(surplus)}; move them away")
        for name in card.stored_corruptions:
            if name in folders:
                severities = listing(self.place / name)[0]
                if wrong := sorted(set(severities) ^ set(SEVERITIES)):
                    where = self.place / name
                    problems.append(f"{where} has the severities {some(severities)}, expected 1 to 5: {some(wrong)}")
        return problems


def _is_tiny(folder: Path, names: list[str], expected: tuple[str, ...]) -> bool:
    """Tell whether these are Tiny-ImageNet's classes: 200 synsets, most of them ImageNet's, in images of 64 pixels."""
    if len(names) != TINY_CLASSES or 2 * len(set(names) & set(expected)) < TINY_CLASSES:
        return False
    images = [name for name in listing(folder / names[0])[1] if is_image_name(name)]
    try:
        return bool(images) and read_image(folder / names[0] / images[0]).image.size == (TINY_SIDE, TINY_SIDE)
    except DamagedImage:
        return False
